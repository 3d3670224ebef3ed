"""Moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class EMA:
    """Exponential moving average of a network's parameters (Karras et al. 2022, App. F.2).

    Args:
        net: the network; the average begins as a copy of it.
        halflife: in images.
        rampup: limits the half-life to this fraction of the images seen so far, so that early
            averages do not keep the initial weights; None for no limit.

    """

    def __init__(self, net: nn.Module, halflife: float, rampup: float | None = 0.05):
        # In eval mode for good: it is sampled from, never trained.
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.halflife = halflife
        self.rampup = rampup

    def beta(self, images_seen: int, batch: int) -> float:
        """Weight of the old average: 0.5 ** (batch / half-life)."""
        halflife = self.halflife
        if self.rampup is not None:
            halflife = min(halflife, images_seen * self.rampup)
        # At the first step the limit is 0, and the average becomes the network itself.
        return 0.5 ** (batch / max(halflife, 1e-8))

    @torch.no_grad()
    def update(self, net: nn.Module, images_seen: int, batch: int) -> None:
        """Move the average towards ``net`` after a step.

        Args:
            net: the network after the step.
            images_seen: before the step.
            batch: images of the step.

        """
        beta = self.beta(images_seen, batch)
        averages: list[Tensor] = list(self.net.parameters())
        # One fused call: a call per tensor takes as long as the step of a small network.
        torch._foreach_lerp_(averages, list(net.parameters()), 1 - beta)
        buffers = list(self.net.buffers())
        if buffers:
            # Running statistics of a user's layers; ours never change.
            torch._foreach_copy_(buffers, list(net.buffers()))
