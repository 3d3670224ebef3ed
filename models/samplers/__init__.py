"""Samplers. One file, one sampler; ``contract`` says what a sampler is given."""
