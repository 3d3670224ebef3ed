"""Newton steps for the semi-dual, where gradient steps stall: few dimensions, or targets in tight clusters.

The Hessian of E is the Laplacian of a graph of neighbouring cells (Kitagawa, Merigot, Thibert 2019, Thm. 1.3): its
weight w_jk is how fast mass crosses the border as h_k rises, the density at 0 of the gap between the two scores. A
sample of noise shows it: the share of samples whose two best cells are j and k, over their typical gap. Samples come
from both sides of the border, so that is twice the weight where gaps are exponential and four times it where they are
uniform: steps are half of Newton's or shorter, and the noise of small samples does no harm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from couplings.semidual import Semidual

Sample = Callable[[], Iterator[Tensor]]
"""Draws the same noise `[b, d]`, part by part, at each call: all of it need not fit into memory."""

# Scores held at once, few enough for a processor's cache; but rows enough for a fast matrix product.
CACHED = 1 << 20
ROWS = 256
# A cell with less than a tenth of its share of samples is lifted to half of its share.
LOW = 0.1
LIFTED = 0.5
MOST = 16  # samples that a cell is lifted to: what a heavy cell lacks then, Newton's step gives it
ROUNDS = 4
# Backtracking halves a step until it helps, and gives up below this.
SHORTEST = 1 / 256


def two_best(noise: Tensor, targets: Tensor, potential: Tensor) -> tuple[Tensor, Tensor]:
    """The gap between the two best scores `[b]` float64, and their cells `[b, 2]` int64, best first.

    Args:
        noise: `[b, d]`, b >= 1.
        targets: `[m, d]`, m >= 2, same dtype and device.
        potential: `[m]`, h.

    """
    rows, h = max(ROWS, CACHED // len(targets)), potential.to(noise)
    parts = [torch.addmm(h, chunk, targets.T).topk(2) for chunk in noise.split(rows)]
    values = torch.cat([part.values for part in parts]).double()
    return values[:, 0] - values[:, 1], torch.cat([part.indices for part in parts])


def laplacian(gaps: Tensor, pairs: Tensor, m: int):
    """The estimated Hessian, a sparse `[m, m]` SciPy matrix in float64, positive definite.

    Groups of cells without a border between them in the sample have one in truth, which the step must not ignore: each
    group is held as by one more sample. A ridge on each cell would slow the modes that span all targets.

    Args:
        gaps: `[b]`, between the two best scores of each noise sample.
        pairs: `[b, 2]`, the cells that these scores are of.
        m: the number of cells.

    """
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.csgraph import connected_components

    gaps, pairs = gaps.cpu().numpy(), pairs.cpu().numpy()
    # A pair seen once has a gap, but no typical one: the gaps of each cell are many more.
    total = np.bincount(pairs.ravel(), np.repeat(gaps, 2), minlength=m)
    count = np.bincount(pairs.ravel(), minlength=m)
    floor = max(1e-3 * gaps.mean(), np.finfo(float).tiny)
    typical = np.where(count > 0, np.maximum(total / np.maximum(count, 1), floor), floor)
    j, k = pairs.T
    weight = 1 / (len(gaps) * np.sqrt(typical[j] * typical[k]))
    graph = coo_matrix((np.r_[weight, weight], (np.r_[j, k], np.r_[k, j])), shape=(m, m)).tocsr()
    degree = np.asarray(graph.sum(1)).ravel()
    groups, group = connected_components(graph, directed=False)
    one_sample = 1 / (len(gaps) * typical)
    size = np.bincount(group, minlength=groups)
    return diags(degree + one_sample / size[group]) - graph


def direction(hessian, gradient: Tensor) -> Tensor:
    """The solution `[m]` of hessian x = gradient, by conjugate gradients.

    A solution cut short is still a direction of descent.
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import cg

    jacobi = diags(1 / hessian.diagonal())
    solution, _ = cg(hessian, gradient.cpu().numpy(), rtol=1e-3, maxiter=2000, M=jacobi)
    return torch.from_numpy(solution).to(gradient.device)


def voronoi_start(dual: Semidual, noise: Tensor) -> tuple[float, Tensor]:
    """The least chi-square on the noise `[b, d]`, and its potential `[m]`, of cells that are Voronoi's.

    h = -a |y|^2 / 2 gives noise x the nearest of the points a y. In few dimensions the best a spreads them like the
    noise, so that few cells are empty.
    """
    from scipy.optimize import minimize_scalar

    from couplings.semidual import chi_square

    square = dual.targets.double().square().sum(1)
    unit = (square - square.mean()) / (2 * dual.length / math.sqrt(dual.targets.shape[1]))
    search = minimize_scalar(
        lambda log: chi_square(dual.counts(noise, -math.exp(log) * unit), dual.weights),
        bounds=(-4, 2),
        method="bounded",
        options={"xatol": 0.1, "maxiter": 12},
    )
    return float(search.fun), -math.exp(search.x) * unit


def lift(dual: Semidual, potential: Tensor, sample: Sample, n: int) -> Tensor:
    """The potential `[m]` with cells that get hardly any of the n samples raised to half of their share.

    Newton's method needs cells that are not empty: an empty one has no border, and its mass no slope.
    """
    share = n * dual.weights
    for _ in range(ROUNDS):
        counts = sum(dual.counts(noise, potential) for noise in sample())
        low = (counts < LOW * share).nonzero()[:, 0]
        if not len(low):
            break
        wanted = (LIFTED * share[low]).round().long().clamp(1, MOST)
        shortfall = _least_shortfalls(dual, potential, sample, low, int(wanted.max()))
        potential = potential.clone()
        potential[low] += shortfall.gather(1, wanted[:, None] - 1)[:, 0].double()
    return potential


def newton_step(dual: Semidual, sample: Sample, n: int) -> tuple[Tensor, float]:
    """Newton's step `[m]`, to be taken off the potential, and the biased chi-square of the n samples."""
    m = len(dual.targets)
    parts = [two_best(noise, dual.targets, dual.potential) for noise in sample()]
    gaps, pairs = (torch.cat(column) for column in zip(*parts, strict=True))
    gradient = pairs[:, 0].bincount(minlength=m).double() / n - dual.weights
    step = direction(laplacian(gaps, pairs, m), gradient)
    return step, float((gradient.square() / dual.weights).sum())


def backtrack(dual: Semidual, step: Tensor, chi2: float, sample: Sample, n: int) -> Tensor:
    """The longest of step, step / 2, step / 4, ... that lowers the chi-square of the same samples, or zeros."""
    length = 1.0
    while length >= SHORTEST:
        counts = sum(dual.counts(noise, dual.potential - length * step) for noise in sample())
        error = counts.double() / n - dual.weights
        if float((error.square() / dual.weights).sum()) < (1 - length / 4) * chi2:
            return length * step
        length /= 2
    return torch.zeros_like(step)


def _least_shortfalls(dual: Semidual, potential: Tensor, sample: Sample, cells: Tensor, k: int) -> Tensor:
    """By how much the scores of `cells` `[c]` fall short of the best, the k least over the samples, `[c, k]`."""
    least = torch.empty(len(cells), 0, dtype=dual.targets.dtype, device=cells.device)
    h, targets = potential.to(dual.targets.dtype), dual.targets[cells]
    rows = max(4 * k, CACHED // len(dual.targets), ROWS)
    for noise in sample():
        for chunk in noise.split(rows):
            best = torch.addmm(h, chunk, dual.targets.T).amax(1)
            # One row for each cell: the least of a row are found faster than those of a column.
            short = best - torch.addmm(h[cells, None], targets, chunk.T)
            joined = torch.cat([least, short], 1)
            least = joined.topk(min(k, joined.shape[1]), largest=False, sorted=False).values
    return least.sort(1).values
