"""Starts of sampling. One file, one start."""
