"""Starts of sampling. One file, one start; ``contract`` says what a start is given."""
