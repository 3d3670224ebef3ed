"""Training objectives. One file, one objective."""
