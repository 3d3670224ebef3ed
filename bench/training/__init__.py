"""Training of one denoiser with one coupling."""
