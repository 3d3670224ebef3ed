"""Discriminator guidance: the discriminator, and the term that it adds to the score."""
