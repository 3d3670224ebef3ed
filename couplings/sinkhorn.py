"""Entropic optimal transport by log-domain Sinkhorn, on the device of the pool."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from couplings.entropic import Entropic
from couplings.plan import import_pot
from couplings.registry import register

BLOCK = 2**22  # cells of a cost matrix handled at a time


@register("sinkhorn")
@dataclass(frozen=True, kw_only=True)
class Sinkhorn(Entropic):
    """Sinkhorn in float64, O(n^2) an iteration; a GPU pool is solved on the GPU.

    `backend=torch` stops by the L1 error itself and holds one cost matrix and a block of it; `backend=pot` is
    POT's solver, with several matrices.

    Every pool starts from zero potentials: those of the last pool belong to other noises, and a pairing that
    depended on them would not be the same after a resume.

    Source: Cuturi 2013; the log domain as in Feydy et al. 2019.
    """

    backend: Literal["torch", "pot"] = "torch"

    def log_plan(self, cost: Tensor) -> tuple[Tensor, int]:
        """The plan and the number of iterations."""
        if self.backend == "torch":
            return log_sinkhorn(cost, self.tolerance / 2, self.max_iterations)
        ot = import_pot()
        n = len(cost)
        weights = torch.full((n,), 1 / n, dtype=cost.dtype, device=cost.device)
        # POT stops by the L2 norm of the marginal's error; L1 <= sqrt(n) L2.
        stop = self.tolerance / math.sqrt(n)
        _, log = ot.bregman.sinkhorn_log(
            weights, weights, cost, 1.0, numItermax=self.max_iterations, stopThr=stop, log=True, warn=False
        )
        return log["log_u"][:, None] + log["log_v"] - cost, log["niter"] + 1


def log_sinkhorn(cost: Tensor, tolerance: float, max_iterations: int) -> tuple[Tensor, int]:
    """For a cost `[n, n]` at eps = 1: log P `[n, n]`, whose rows are exact, and the number of iterations.

    Stops when the L1 error of the columns is at most `tolerance`, or unconverged.
    """
    log_weight = -math.log(len(cost))
    rows = max(1, BLOCK // len(cost))
    columns = log_weight - _log_sums(torch.zeros_like(cost[:, 0]), cost.T, rows)
    iterations, error = 0, math.inf
    while error > tolerance and iterations < max_iterations:
        g = columns
        f = log_weight - _log_sums(g, cost, rows)
        columns = log_weight - _log_sums(f, cost.T, rows)
        # Exact columns would have g = columns: their sums are exp(g - columns) / n.
        error = float(((g - columns).exp() - 1).abs().mean())
        iterations += 1
    return f[:, None] + g - cost, iterations


def _log_sums(potential: Tensor, cost: Tensor, rows: int) -> Tensor:
    """The log of sum_j exp(potential_j - cost_ij), `[n]`, a block of rows at a time."""
    return torch.cat([(potential - block).logsumexp(1) for block in cost.split(rows)])
