"""Entropic optimal transport by log-domain Sinkhorn, on the device of the pool."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from couplings.batch._entropic import Entropic, RelativeCost
from couplings.batch._momentum import Momentum
from couplings.plan import LogPlan, blocks, import_pot

# How far, in units of eps, potentials may move before the kernel of `KernelShares` is computed
# again: the cells it rounds to 0, below e^-745 of their row's largest, stay below e^-645.
MOST_SHIFT = 50.0
# A column with less mass than this has lost it to underflow; its potential rises by 690 an
# iteration until it has some.
LEAST_SHARE = 1e-300


@dataclass(frozen=True, kw_only=True)
class Sinkhorn(Entropic):
    """Accelerated Sinkhorn in float64; a GPU pool is solved on the GPU.

    Every pool starts from zero potentials, so that a pairing depends on its pool only. Those of an
    earlier pool belong to other points: transferring them takes one more cost matrix, several times
    as long as the whole solution, and saves a fifth of the iterations (CIFAR-10, n = 1024 and
    4096). Nor does a start from wider epsilons pay at the default one; docs/couplings.md has times.

    GeomLoss is no backend because it runs a set number of annealing steps and reports no error: its
    marginals were 1 % off after 20 times as long.

    Options:
        backend: `torch` stops by the L1 error itself. Up to n = 8192 it holds the cost matrix and
            its kernel, 16 n^2 bytes, and an iteration is two matrix-vector products; above, it
            recomputes the cost from images and noise in O(n^2 d) an iteration, and with
            `replace=true` its memory is O(n d). `pot` is POT's solver, far slower and with several
            matrices: an independent check.

    Cost: O(n^2) time an iteration, 16 n^2 bytes; above n = 8192 O(n^2 d) time an iteration.

    Source: Cuturi 2013; the log domain as in Feydy et al. 2019.
    """

    backend: Literal["torch", "pot"] = "torch"

    def peak_bytes(self, n: int, d: int) -> int:
        """As for every entropic coupling; POT holds the costs and two more matrices at any n."""
        least = super().peak_bytes(n, d)
        return least if self.backend == "torch" else max(least, 24 * n * n)

    def log_plan(self, cost: RelativeCost) -> tuple[LogPlan, int]:
        """The plan and the number of iterations."""
        if self.backend == "pot":
            return self._by_pot(cost)
        # Half the tolerance: the marginals are checked again, with other roundings.
        return log_sinkhorn(cost, self.tolerance / 2, self.max_iterations)

    def _by_pot(self, cost: RelativeCost) -> tuple[LogPlan, int]:
        ot = import_pot()
        n = len(cost)
        matrix = cost.matrix()
        weights = torch.full((n,), 1 / n, dtype=matrix.dtype, device=matrix.device)
        _, log = ot.bregman.sinkhorn_log(
            weights,
            weights,
            matrix,
            1.0,
            numItermax=self.max_iterations,
            # POT stops by the L2 norm of the marginal's error; L1 <= sqrt(n) L2.
            stopThr=self.tolerance / math.sqrt(n),
            log=True,
            warn=False,
        )
        return LogPlan(log["log_u"], log["log_v"], cost), log["niter"] + 1


def log_sinkhorn(cost: RelativeCost, tolerance: float, max_iterations: int) -> tuple[LogPlan, int]:
    """The plan of a cost at eps = 1, whose rows are exact, and the number of iterations.

    It stops when the L1 error of the columns is at most `tolerance`, or unconverged. A Sinkhorn
    iteration is g - log(shares of g), a gradient step as far as shares are near 1; see
    `couplings.batch._momentum`.
    """
    shares = _shares(cost)
    g = torch.zeros_like(cost.x[:, 0])
    momentum = Momentum(g)
    iterations = 0
    while True:
        share = shares(g)
        iterations += 1
        if float((share - 1).abs().mean()) <= tolerance or iterations >= max_iterations:
            break
        g = momentum.step(g, -share.clamp_min(LEAST_SHARE).log())
    # The f that is best for g, which makes the rows exact.
    log_rows = torch.cat([(g - block).logsumexp(1) for block in blocks(cost)])
    return LogPlan(-log_rows - math.log(len(cost)), g, cost), iterations


def column_shares(cost: RelativeCost, g: Tensor) -> Tensor:
    """The column sums `[n]`, times n, of the plan with potential g and exact rows.

    They are 1 each at the solution.
    """
    shares = torch.zeros_like(g)
    for block in blocks(cost):
        shares = shares + (g - block).softmax(1).sum(0)
    return shares


class KernelShares:
    """`column_shares` by two products with the kernel softmax(h - cost), for potentials g near h.

    Row i of the plan is K_ij v_j / (K v)_i, v = exp(g - h); h is moved to g when v leaves its range
    (absorption: Schmitzer 2019, arXiv 1610.06519).
    """

    def __init__(self, cost: Tensor):
        self.cost = cost
        self.kernel = torch.empty_like(cost)
        self.h: Tensor | None = None

    def __call__(self, g: Tensor) -> Tensor:
        """The shares `[n]`."""
        if self.h is None or float((g - self.h).abs().max()) > MOST_SHIFT:
            self.h = g
            # Block by block, because a softmax of all rows would hold another matrix.
            for kernel, block in zip(blocks(self.kernel), blocks(self.cost), strict=True):
                torch.softmax(g - block, 1, out=kernel)
        v = (g - self.h).exp()
        return v * (self.kernel.T @ (self.kernel @ v).reciprocal())


def _shares(cost: RelativeCost) -> Callable[[Tensor], Tensor]:
    """The quicker way to the column sums that memory allows."""
    if cost.kept is not None:
        return KernelShares(cost.kept)
    return lambda g: column_shares(cost, g)
