"""Pairs of images and noise samples: drawn, augmented, coupled."""
