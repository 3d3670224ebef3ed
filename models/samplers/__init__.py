"""Samplers, schedules and starts. One file, one sampler."""
