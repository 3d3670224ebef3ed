"""The winners of a semi-discrete problem: the sites y_j of the largest scores <x, y_j> + h_j.

In few dimensions with many sites a k-d tree finds them. With the factor a > 0 and c_j = -2 a h_j -
|a y_j|^2, the largest score has the least |x - a y_j|^2 + c_j: the site nearest to (x, 0) among (a
y_j, (c_j - min c)^(1/2)), which have one coordinate more (power diagrams: Aurenhammer 1987).
Elsewhere all scores are computed, tile by tile.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# A tree prunes well in few dimensions only, and pays for its overhead among many sites.
FEW_DIMENSIONS = 3
MANY_SITES = 1000
# Scores held at once, 2 MB in float32: with more, a processor's second cache overflows, and
# reading them again takes longer than the matrix product.
CACHED = 1 << 19
# But at least so many rows, which a matrix product needs to be fast.
ROWS = 256
# The least factor `a`, relative to the range of the sites: below it, rounding decides.
LEAST_FACTOR = 1e-3


def winners(
    points: Tensor,
    sites: Tensor,
    potential: Tensor,
    k: int = 1,
    rows: int = ROWS,
    cached: int = CACHED,
) -> tuple[Tensor, Tensor]:
    """The k largest scores `[b, k]` of each point, in float64, and their sites `[b, k]` int64.

    Args:
        points: `[b, d]`.
        sites: `[m, d]`, m >= k, same dtype and device.
        potential: `[m]`, h.
        k: scores per point, largest first.
        rows: points at a time, at least for k > 1.
        cached: scores at a time, unless `rows` points have more.

    """
    if suits_a_tree(sites):
        return _by_tree(points, sites, potential, k)
    if not len(points):
        index = torch.zeros(0, k, dtype=torch.int64, device=points.device)
        return index.double(), index
    if sites.shape[1] <= FEW_DIMENSIONS:
        # Neighbouring sites may be nearer to each other than float32 scores can tell, and float64
        # costs little here.
        points = points.double()
        sites = sites.double()
    h = potential.to(points)
    if k == 1 and points.device.type == "cpu":
        return _by_tiles(points, sites, h, rows, cached)
    values = []
    indices = []
    for chunk in points.split(max(rows, cached // len(sites))):
        best = torch.addmm(h, chunk, sites.T).topk(k)
        values.append(best.values)
        indices.append(best.indices)
    return torch.cat(values).double(), torch.cat(indices)


def chi_square(counts: Tensor, weights: Tensor) -> float:
    """The unbiased chi-square divergence sum_j w_j^2 / v_j - 1 of cell masses w from weights v.

    Source: arXiv 2509.25519, the estimator of the marginal error for one-hot assignments,
    sum_j c_j (c_j - 1) / v_j / (B (B - 1)) - 1. Being unbiased, it may be negative near 0.

    Args:
        counts: `[m]` int64, of B >= 2 independent draws.
        weights: `[m]` float64, positive, of sum 1.

    """
    counts = counts.double()
    total = counts.sum()
    return float((counts * (counts - 1) / weights).sum() / (total * (total - 1)) - 1)


def suits_a_tree(sites: Tensor) -> bool:
    """True if a k-d tree is faster than all scores."""
    is_flat = sites.shape[1] <= FEW_DIMENSIONS
    return sites.device.type == "cpu" and is_flat and len(sites) >= MANY_SITES


def _by_tiles(
    points: Tensor, sites: Tensor, h: Tensor, rows: int, cached: int
) -> tuple[Tensor, Tensor]:
    """The winner of each point, by tiles of scores in one buffer that stays in the cache."""
    columns = max(1, cached // rows)
    buffer = points.new_empty(rows * columns)
    values = []
    indices = []
    for chunk in points.split(rows):
        best = points.new_full((len(chunk),), -torch.inf)
        winner = torch.zeros(len(chunk), dtype=torch.int64, device="cpu")
        for first in range(0, len(sites), columns):
            tile = sites[first : first + columns]
            scores = buffer[: len(chunk) * len(tile)].view(len(chunk), len(tile))
            torch.addmm(h[first : first + columns], chunk, tile.T, out=scores)
            # NumPy's argmax uses vector instructions; torch's takes five times as long.
            index = torch.from_numpy(scores.numpy().argmax(1))
            largest = scores.gather(1, index[:, None])[:, 0]
            is_larger = largest > best
            best = torch.where(is_larger, largest, best)
            winner = torch.where(is_larger, index + first, winner)
        values.append(best)
        indices.append(winner)
    return torch.cat(values).double()[:, None], torch.cat(indices)[:, None]


def _by_tree(points: Tensor, sites: Tensor, potential: Tensor, k: int) -> tuple[Tensor, Tensor]:
    from scipy.spatial import cKDTree

    x = points.double().numpy()
    y = sites.double().numpy()
    h = potential.double().numpy()
    factor, shift = _flattest(y, h)
    heights = -2 * factor * (h - y @ shift) - factor**2 * np.square(y).sum(1)
    lifted = np.column_stack([factor * y, np.sqrt(heights - heights.min())])
    in_plane = np.column_stack([x + shift, np.zeros(len(x))])
    # A list of ranks keeps the axis of k even for k = 1.
    _, index = cKDTree(lifted).query(in_plane, k=list(range(1, k + 1)))
    # From the scores themselves: squared distances would lose the digits of small gaps.
    values = np.einsum("bd,bkd->bk", x, y[index]) + h[index]
    return torch.from_numpy(values), torch.from_numpy(index)


def _flattest(y: np.ndarray, h: np.ndarray) -> tuple[float, np.ndarray]:
    """The factor a > 0 and the shift b `[d]` that leave the least of h + a |y|^2 / 2 - <b, y>.

    Any factor gives the same winners. The less is left, the nearer the lifted sites are to the
    plane of the points, and the fewer of them a query has to look at. The score is <x + b, y> + (h
    - <b, y>).
    """
    square = np.square(y).sum(1)
    design = np.column_stack([square, y, np.ones(len(y))])
    solution, *_ = np.linalg.lstsq(design, h, rcond=None)
    spread = np.ptp(square)
    if not spread > 0:
        return 1.0, solution[1:-1]
    least = LEAST_FACTOR * (np.ptp(h) + np.ptp(y)) / spread
    return max(-2 * solution[0], least), solution[1:-1]
