"""Moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    """Exponential moving average of a network's parameters by half-life in images (Karras et al.
    2022, App. F.2).

    ``rampup`` limits the half-life to that fraction of the images seen so far, so that early
    averages are not stuck at the initial weights.
    """

    def __init__(self, net: nn.Module, halflife: float, rampup: float | None = 0.05):
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.halflife, self.rampup = halflife, rampup

    def beta(self, images_seen: int, batch: int) -> float:
        """Weight of the old average: 0.5 ** (batch / half-life)."""
        halflife = self.halflife
        if self.rampup is not None:
            halflife = min(halflife, images_seen * self.rampup)
        return 0.5 ** (batch / max(halflife, 1e-8))

    @torch.no_grad()
    def update(self, net: nn.Module, images_seen: int, batch: int) -> None:
        """Move the average towards ``net`` after a step of ``batch`` images, ``images_seen`` before
        it.
        """
        beta = self.beta(images_seen, batch)
        averages = list(self.net.parameters())
        torch._foreach_lerp_(averages, list(net.parameters()), 1 - beta)
