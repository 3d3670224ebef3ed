"""Sampling: settings, latents, starts, and samples kept on disk."""
