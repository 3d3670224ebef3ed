"""Newton steps for the semi-dual, where gradient steps stall: few dimensions, or targets in tight
clusters.

The Hessian of E is the Laplacian of a graph of neighbouring cells (Kitagawa, Merigot, Thibert 2019,
Thm. 1.3): its weight w_jk is how fast mass crosses the border as h_k rises, the density at 0 of the
gap between the two scores. A sample of noise shows it: the share of samples whose two best cells
are j and k, over their typical gap. Samples come from both sides of the border, so that is two to
four times the weight: steps are half of Newton's or shorter, and the noise of small samples does no
harm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from couplings.dataset._winners import chi_square, suits_a_tree, winners

if TYPE_CHECKING:
    from couplings.dataset._semidual import Semidual

Sample = Callable[[], Iterator[Tensor]]
"""Draws the same noise `[b, d]`, part by part, at each call: all of it need not fit into memory."""

# A cell with less than a tenth of its share of samples is lifted to half of its share.
LOW_SHARE = 0.1
LIFTED_SHARE = 0.5
MOST_LIFTED = 16  # samples at most: Newton's steps bring a heavy cell the rest
ROUNDS = 4
# Cells near a lifted one, and samples of each, that are searched in few dimensions.
# Lifted cells are searched so many at a time, which takes about 100 MB.
NEIGHBOURS = 6
NEAR_SAMPLES = 200
CELLS = 4096
# An averaged step may raise the chi-square by half of what the noise of its samples adds: the cells
# over the samples.
MOST_RISE = 0.5
# Backtracking halves a step until it helps, and gives up below this.
SHORTEST = 1 / 256


def two_best(noise: Tensor, targets: Tensor, potential: Tensor) -> tuple[Tensor, Tensor]:
    """The gap between the two best scores `[b]` float64, and their cells `[b, 2]` int64, best
    first.

    Args:
        noise: `[b, d]`, b >= 1.
        targets: `[m, d]`, m >= 2, same dtype and device.
        potential: `[m]`, h.

    """
    values, cells = winners(noise, targets, potential, k=2)
    return values[:, 0] - values[:, 1], cells


def laplacian(gaps: Tensor, pairs: Tensor, m: int):
    """The estimated Hessian, a sparse `[m, m]` SciPy matrix in float64, positive definite.

    Groups of cells without a border between them in the sample have one in truth, which the step
    must not ignore: each group is held as by one more sample. A ridge on each cell would slow the
    modes that span all targets.

    Args:
        gaps: `[b]`, between the two best scores of each noise sample.
        pairs: `[b, 2]`, the cells that these scores are of.
        m: the number of cells.

    """
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.csgraph import connected_components

    gaps, pairs = gaps.cpu().numpy(), pairs.cpu().numpy()
    # A pair seen once has a gap, but no typical one, so the gaps of each cell are taken together.
    # Their median counts: a few gaps to another cluster of targets are many times as large, and a
    # step over their mean is far too long.
    cells = pairs.ravel()
    both = np.repeat(gaps, 2)
    ranked = both[np.lexsort((both, cells))]
    count = np.bincount(cells, minlength=m)
    middle = count.cumsum() - count + count // 2
    median = ranked[np.minimum(middle, len(ranked) - 1)]
    floor = max(1e-9 * gaps.mean(), np.finfo(float).tiny)
    # An exponential's mean is its median over log 2.
    typical = np.where(count > 0, np.maximum(median / math.log(2), floor), floor)
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
    """The least chi-square on the noise `[b, d]`, and its potential `[m]`, of cells that are
    Voronoi's.

    h = -a |y|^2 / 2 gives noise x the nearest of the points a y. In few dimensions the best a
    spreads them like the noise, so that few cells are empty.
    """
    from scipy.optimize import minimize_scalar

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
    """The potential `[m]` with cells that get hardly any of the n samples raised to half of their
    share.

    Newton's method needs cells that are not empty: an empty one has no border, and its mass no
    slope.
    """
    share = n * dual.weights
    for _ in range(ROUNDS):
        parts = [winners(noise, dual.targets, potential) for noise in sample()]
        best, winner = (torch.cat(column)[:, 0] for column in zip(*parts, strict=True))
        counts = winner.bincount(minlength=len(share))
        low = (counts < LOW_SHARE * share).nonzero()[:, 0]
        if not len(low):
            break
        wanted = (LIFTED_SHARE * share[low]).round().long().clamp(1, MOST_LIFTED)
        if suits_a_tree(dual.targets):
            noise = torch.cat(list(sample()))
            shortfall = near_shortfalls(noise, best, winner, dual.targets, potential, low, wanted)
        else:
            least = _least_shortfalls(dual, potential, sample, low, int(wanted.max()))
            shortfall = least.gather(1, wanted[:, None] - 1)[:, 0]
        potential = potential.clone()
        potential[low] += shortfall
    return potential


def near_shortfalls(
    noise: Tensor,
    best: Tensor,
    winner: Tensor,
    targets: Tensor,
    potential: Tensor,
    cells: Tensor,
    wanted: Tensor,
) -> Tensor:
    """By how much to raise each of `cells` `[c]` so that it wins `wanted` `[c]` samples of the
    noise `[n, d]`, float64.

    `best` and `winner` `[n]` are the largest score of each sample and its cell.

    Only samples of the nearest cells that win any are looked at, and only some of a large cell: a
    raised cell takes its samples from its neighbours. It may win more than it wants, which Newton's
    steps take back.
    """
    from scipy.spatial import cKDTree

    x = noise.double().numpy()
    y = targets.double().numpy()
    count = winner.bincount(minlength=len(y)).numpy()
    # The samples of cell j are order[first[j] : first[j] + count[j]].
    order = winner.argsort(stable=True).numpy()
    first = count.cumsum() - count
    filled = np.flatnonzero(count)
    tree = cKDTree(y[filled])
    k = min(NEIGHBOURS, len(filled))
    parts = []
    for some, of_them in zip(cells.split(CELLS), wanted.split(CELLS), strict=True):
        near = filled[tree.query(y[some.numpy()], k=list(range(1, k + 1)))[1]]  # [c, k]
        taken = np.minimum(count[near], NEAR_SAMPLES)
        per_cell = taken.sum(1)
        row, sample = _pairs(taken, first[near], order)
        cell = some.numpy()[row]
        score = np.einsum("pd,pd->p", x[sample], y[cell]) + potential.numpy()[cell]
        shortfall = best.numpy()[sample] - score
        rank = np.lexsort((shortfall, row))
        start = per_cell.cumsum() - per_cell
        parts.append(shortfall[rank[start + np.minimum(of_them.numpy(), per_cell) - 1]])
    return torch.from_numpy(np.concatenate(parts))


def _pairs(
    taken: np.ndarray, first: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The row `[p]` and the sample `[p]` of each pair: taken[c, k] samples of order from first[c,
    k] on for row c.
    """
    row = np.repeat(np.arange(len(taken)), taken.sum(1))
    ends = taken.ravel().cumsum()
    within = np.arange(ends[-1]) - np.repeat(ends - taken.ravel(), taken.ravel())
    return row, order[np.repeat(first.ravel(), taken.ravel()) + within]


def newton_step(dual: Semidual, sample: Sample, n: int) -> tuple[Tensor, float]:
    """Newton's step `[m]`, to be taken off the potential, and the biased chi-square of the n
    samples.
    """
    m = len(dual.targets)
    parts = [two_best(noise, dual.targets, dual.potential) for noise in sample()]
    gaps, pairs = (torch.cat(column) for column in zip(*parts, strict=True))
    counts = pairs[:, 0].bincount(minlength=m)
    gradient = counts.double() / n - dual.weights
    return direction(laplacian(gaps, pairs, m), gradient), biased_chi_square(counts, dual.weights)


def backtrack(dual: Semidual, step: Tensor, chi2: float, sample: Sample) -> Tensor:
    """The longest of step, step / 2, step / 4, ... that lowers the chi-square of the same samples,
    or zeros.
    """
    return _shortened(dual, step, sample, lambda length: (1 - length / 4) * chi2)


def bear_out(dual: Semidual, step: Tensor, chi2: float, sample: Sample, n: int) -> Tensor:
    """The longest of step, step / 2, step / 4, ... that does not raise the chi-square beyond its
    noise, or zeros.

    Few samples may show a border between cells as far weaker than it is. The step across it is then
    far too long, which the samples that it was computed from do not show, but fresh ones do.

    Args:
        dual: the problem, at the potential that the step is to be taken off.
        step: `[m]`.
        chi2: the biased chi-square before the step, of n samples that are not `sample`.
        sample: draws n fresh samples.
        n: how many.

    """
    most = chi2 + MOST_RISE * len(step) / n
    return _shortened(dual, step, sample, lambda length: most)


def biased_chi_square(counts: Tensor, weights: Tensor) -> float:
    """sum_j (c_j / n - v_j)^2 / v_j of counts `[m]` of n samples; too high by (m - 1) / n at exact
    masses.
    """
    error = counts.double() / counts.sum() - weights
    return float((error.square() / weights).sum())


def _shortened(
    dual: Semidual, step: Tensor, sample: Sample, most: Callable[[float], float]
) -> Tensor:
    """The longest of step, step / 2, ... whose biased chi-square is at most `most` of its length,
    or zeros.
    """
    length = 1.0
    while length >= SHORTEST:
        counts = sum(dual.counts(noise, dual.potential - length * step) for noise in sample())
        if biased_chi_square(counts, dual.weights) <= most(length):
            return length * step
        length /= 2
    return torch.zeros_like(step)


def _least_shortfalls(
    dual: Semidual, potential: Tensor, sample: Sample, cells: Tensor, k: int
) -> Tensor:
    """By how much the scores of `cells` `[c]` fall short of the best, the k least over the samples,
    `[c, k]`.
    """
    least = torch.empty(len(cells), 0, dtype=torch.float64, device=cells.device)
    targets = dual.targets[cells]
    h = potential[cells, None]
    for noise in sample():
        best, _ = winners(noise, dual.targets, potential)
        # The shortfall u(x) - <x, y> - h is least where <y, x> - u(x) is largest: the samples are
        # the sites.
        largest, _ = winners(targets, noise, -best[:, 0], min(k, len(noise)))
        joined = torch.cat([least, -largest - h], 1)
        least = joined.topk(min(k, joined.shape[1]), largest=False).values
    return least.sort(1).values
