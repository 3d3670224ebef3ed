"""Metrics. One file, one metric; each is a pure function of tensors."""
