"""Tables of runs: read, tidied, grouped, compared."""
