"""Couplings of a pool. One file, one coupling."""
