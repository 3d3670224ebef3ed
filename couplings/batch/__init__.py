"""Couplings of a pool. One file, one coupling; files that begin with an underscore hold what
several share.
"""
