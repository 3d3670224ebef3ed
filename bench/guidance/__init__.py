"""Discriminator guidance: images, encoder, training, files."""
