"""Entropic optimal transport by POT's log-domain Sinkhorn, on the device of the pool."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from couplings.entropic import Entropic
from couplings.plan import import_pot
from couplings.registry import register


@register("sinkhorn")
@dataclass(frozen=True, kw_only=True)
class Sinkhorn(Entropic):
    """Sinkhorn in float64, O(n^2) an iteration; a GPU pool is solved on the GPU.

    Source: Cuturi 2013; the log domain as in Feydy et al. 2019.
    """

    def log_plan(self, cost: Tensor) -> tuple[Tensor, int]:
        """The plan and the number of iterations."""
        ot = import_pot()
        n = len(cost)
        weights = torch.full((n,), 1 / n, dtype=cost.dtype, device=cost.device)
        # POT stops by the L2 norm of the marginal's error; L1 <= sqrt(n) L2.
        stop = self.tolerance / math.sqrt(n)
        _, log = ot.bregman.sinkhorn_log(
            weights, weights, cost, 1.0, numItermax=self.max_iterations, stopThr=stop, log=True, warn=False
        )
        return log["log_u"][:, None] + log["log_v"] - cost, log["niter"] + 1
