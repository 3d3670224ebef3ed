"""Metrics of a discriminator on held-out images."""

from __future__ import annotations

import torch

from bench.config.guidance import GuidanceConfig
from bench.guidance.images import Arm, Sides
from bench.guidance.logits import judge
from bench.metrics.discrimination import accuracy, auc, calibration_error
from bench.record import Measurement
from models.guidance.discriminator import Discriminator

BINS = 8  # of ln sigma


def measure(
    config: GuidanceConfig, arm: Arm, net: Discriminator, held: Sides, split: str
) -> list[Measurement]:
    """AUC, accuracy and calibration error over the guided window, and in bins of ln sigma, on
    held-out images.

    ``split`` names where the reals come from; ``sigma`` is a bin's geometric middle. With ``train``
    they are the images that chose the checkpoint, with ``test``, images used neither for training
    nor for the choice.
    """
    logits = judge(config, arm, net, held, f"measure {split}")
    edges = torch.logspace(*torch.tensor(arm.guided).log10().tolist(), BINS + 1)
    bins = torch.bucketize(logits.sigma, edges[1:-1])
    parts = [(None, torch.ones_like(bins, dtype=torch.bool))]
    parts += [(float((edges[k] * edges[k + 1]).sqrt()), bins == k) for k in range(BINS)]
    metrics = {"dg_auc": auc, "dg_accuracy": accuracy, "dg_calibration_error": calibration_error}
    return [
        Measurement(
            name, metric(logits.real[rows], logits.fake[rows]),
            guidance=config.name, split=split, n=int(rows.sum()), sigma=sigma,
        )
        for sigma, rows in parts if rows.any()
        for name, metric in metrics.items()
    ]  # fmt: skip
