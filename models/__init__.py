"""Denoisers, discriminators and samplers (Karras et al. 2022)."""
