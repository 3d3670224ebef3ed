"""Newton steps for the semi-dual, for few dimensions or targets in tight clusters.

Gradient steps stall there. The Hessian of E is the Laplacian of a graph of neighbouring cells
(Kitagawa, Merigot, Thibert 2019, Thm. 1.3): its weight w_jk is how fast mass crosses the border as
h_k rises, the density at 0 of the gap between the two scores. A sample of noise estimates it as the
share of samples whose two best cells are j and k, over their typical gap. Samples come from both
sides of the border, so that is two to four times the weight. Steps are therefore half of Newton's
or shorter, and the noise of small samples does no harm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from couplings.dataset._semidual import Semidual
from couplings.dataset._winners import winners

Sample = Callable[[], Iterator[Tensor]]
"""Draws the same noise `[b, d]`, part by part, at each call: all of it need not fit into memory."""

# An averaged step may raise the chi-square by half of what the noise of its samples adds: the cells
# over the samples.
MOST_RISE = 0.5
# Backtracking halves a step until it helps, and gives up below this.
SHORTEST = 1 / 256
# Below this share of the mean gap, a gap is the rounding of two equal scores.
LEAST_GAP = 1e-9


def newton_step(dual: Semidual, sample: Sample, n: int) -> tuple[Tensor, float]:
    """Newton's step `[m]`, to be subtracted from the potential, and the chi-square before it.

    The chi-square is the biased one of the n samples.
    """
    m = len(dual.targets)
    parts = [two_best(noise, dual.targets, dual.potential) for noise in sample()]
    gaps, pairs = (torch.cat(column) for column in zip(*parts, strict=True))
    counts = pairs[:, 0].bincount(minlength=m)
    gradient = counts.double() / n - dual.weights
    step = direction(laplacian(gaps, pairs, m), gradient)
    return step, biased_chi_square(counts, dual.weights)


def two_best(noise: Tensor, targets: Tensor, potential: Tensor) -> tuple[Tensor, Tensor]:
    """The gap between the two best scores `[b]` float64, and their cells `[b, 2]` int64.

    Args:
        noise: `[b, d]`, b >= 1.
        targets: `[m, d]`, m >= 2, same dtype and device.
        potential: `[m]`, h.

    """
    values, cells = winners(noise, targets, potential, k=2)
    return values[:, 0] - values[:, 1], cells


def laplacian(gaps: Tensor, pairs: Tensor, m: int):
    """The estimated Hessian, a sparse `[m, m]` SciPy matrix in float64, positive definite.

    Args:
        gaps: `[b]`, between the two best scores of each noise sample.
        pairs: `[b, 2]`, the cells that these scores are of.
        m: the number of cells.

    """
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.csgraph import connected_components

    n = len(gaps)
    typical = _typical_gaps(gaps.cpu().numpy(), pairs.cpu().numpy(), m)
    j, k = pairs.cpu().numpy().T
    weight = 1 / (n * np.sqrt(typical[j] * typical[k]))
    rows = np.concatenate([j, k])
    columns = np.concatenate([k, j])
    both_ways = np.concatenate([weight, weight])
    graph = coo_matrix((both_ways, (rows, columns)), shape=(m, m)).tocsr()
    degree = np.asarray(graph.sum(1)).ravel()
    # Groups of cells without a border between them in the sample have one in truth, which the step
    # must not ignore: each group is held as if by one more sample. A ridge on each cell would slow
    # the modes that span all targets.
    count, group = connected_components(graph, directed=False)
    size = np.bincount(group, minlength=count)
    one_sample = 1 / (n * typical)
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


def backtrack(dual: Semidual, step: Tensor, chi2: float, sample: Sample) -> Tensor:
    """The longest of step, step / 2, step / 4, ... that lowers the chi-square, or zeros.

    Args:
        dual: the problem, at the potential that the step is to be subtracted from.
        step: `[m]`.
        chi2: the biased chi-square before the step, of the same samples.
        sample: draws them.

    """
    return _shortened(dual, step, sample, lambda length: (1 - length / 4) * chi2)


def bear_out(dual: Semidual, step: Tensor, chi2: float, sample: Sample, n: int) -> Tensor:
    """The longest of step, step / 2, ... that fresh samples do not contradict, or zeros.

    Few samples may show a border between cells as far weaker than it is. The step across it is then
    far too long. The samples that it was computed from do not show that, but fresh ones do: they
    must not raise the chi-square beyond its noise.

    Args:
        dual: the problem, at the potential that the step is to be subtracted from.
        step: `[m]`.
        chi2: the biased chi-square before the step, of n samples that are not `sample`.
        sample: draws n fresh samples.
        n: their number.

    """
    most = chi2 + MOST_RISE * len(step) / n
    return _shortened(dual, step, sample, lambda length: most)


def biased_chi_square(counts: Tensor, weights: Tensor) -> float:
    """sum_j (c_j / n - v_j)^2 / v_j of counts `[m]` of n samples.

    At exact masses it is too high by (m - 1) / n.
    """
    error = counts.double() / counts.sum() - weights
    return float((error.square() / weights).sum())


def _typical_gaps(gaps: np.ndarray, pairs: np.ndarray, m: int) -> np.ndarray:
    """The typical gap `[m]` at the borders of every cell."""
    # A pair seen once has a gap, but no typical one, so the gaps of each cell are taken together.
    # Their median counts: a few gaps to another cluster of targets are many times as large, and a
    # step over their mean is far too long.
    cells = pairs.ravel()
    both = np.repeat(gaps, 2)
    ranked = both[np.lexsort((both, cells))]
    count = np.bincount(cells, minlength=m)
    first = count.cumsum() - count
    middle = np.minimum(first + count // 2, len(ranked) - 1)
    floor = max(LEAST_GAP * gaps.mean(), np.finfo(float).tiny)
    # Gaps near a border are about exponential, and an exponential's mean is its median over log 2.
    mean = np.maximum(ranked[middle] / math.log(2), floor)
    return np.where(count > 0, mean, floor)


def _shortened(
    dual: Semidual, step: Tensor, sample: Sample, most: Callable[[float], float]
) -> Tensor:
    """The longest of step, step / 2, ... whose biased chi-square is low enough, or zeros.

    `most` is the largest that a length from 1 down may have.
    """
    length = 1.0
    while length >= SHORTEST:
        potential = dual.potential - length * step
        counts = torch.stack([dual.counts(noise, potential) for noise in sample()]).sum(0)
        if biased_chi_square(counts, dual.weights) <= most(length):
            return length * step
        length /= 2
    return torch.zeros_like(step)
