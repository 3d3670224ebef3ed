"""The comparison itself: data, training, metrics, one run, the command line."""
