"""The velocity of a denoiser, for couplings whose pairs follow the network in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.config import EvaluationConfig
from models.denoiser import Denoiser
from models.ode import FlowODE
from models.schedules.contract import flow_time

CHUNK = 500  # images that go through the network at a time


class NetworkVelocity:
    """The slope of the sampling ODE in flow coordinates, with the weights that the network has.

    Args:
        net: a denoiser of any objective, in evaluation mode.

    """

    def __init__(self, net: Denoiser):
        self.net = net
        # A network of EDM was not trained at infinite noise. The level is that of the default
        # evaluation, not of the run's own, on which no training may depend.
        highest = flow_time(EvaluationConfig.sigma_max)
        self.highest = 1.0 if net.objective.at_pure_noise else highest

    @torch.no_grad()
    def __call__(self, state: Tensor, t: float, labels: Tensor | None) -> Tensor:
        """The velocity ``[n, c, h, w]`` at states ``[n, c, h, w]`` and time t; labels as in the
        data set.
        """
        device = next(self.net.parameters()).device
        parts = []
        for first in range(0, len(state), CHUNK):
            rows = slice(first, first + CHUNK)
            known = None if labels is None else self.net.one_hot(labels[rows].to(device))
            ode = FlowODE(self.net, known, highest=self.highest)
            # In double precision: near the images the difference is divided by a small t.
            parts.append(ode.first_slope(state[rows].to(device).double(), t))
        return torch.cat(parts)


def following(coupling: Any, net: Denoiser, progress: float | Callable[[], float] = 1.0) -> Any:
    """The coupling with this network if it follows one; any other coupling as it is."""
    if not getattr(coupling, "follows_model", False):
        return coupling
    return coupling.using(NetworkVelocity(net), progress)
