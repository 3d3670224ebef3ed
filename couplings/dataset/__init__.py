"""Couplings fitted to a whole training set. One file, one coupling."""
