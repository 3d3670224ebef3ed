"""Evaluation of a trained denoiser: plan, samples, metrics, ledger."""
