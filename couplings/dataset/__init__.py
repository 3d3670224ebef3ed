"""Couplings fitted to a whole training set. One file, one coupling; files that begin with an
underscore are helpers.
"""
