"""Lifting of empty cells: how far to raise a potential so that a cell wins some samples.

Newton's method needs cells that are not empty: an empty one has no border, and its mass no slope.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from couplings.dataset._newton import Sample
from couplings.dataset._semidual import Semidual
from couplings.dataset._winners import suits_a_tree, winners

# A cell with less than a tenth of its share of samples is lifted to half of its share.
LOW_SHARE = 0.1
LIFTED_SHARE = 0.5
MOST_LIFTED = 16  # samples at most: Newton's steps bring a heavy cell the rest
ROUNDS = 4  # a lifted cell takes samples from others, which may then need a lift themselves
# Cells near a lifted one, and samples of each, that are searched in few dimensions.
NEIGHBOURS = 6
NEAR_SAMPLES = 200
# Lifted cells searched at a time, which takes about 100 MB.
CELLS = 4096


def lift(dual: Semidual, potential: Tensor, sample: Sample, n: int) -> Tensor:
    """The potential `[m]`, with cells that get hardly any of the n samples raised."""
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
    """The rise `[c]` float64 that lets each of some cells win as many noise samples as wanted.

    Only samples of the nearest cells that win any are looked at, and only some of a large cell: a
    raised cell takes its samples from its neighbours. It may win more than it wants, which Newton's
    steps take back.

    Args:
        noise: `[n, d]`.
        best: `[n]`, the largest score of each sample.
        winner: `[n]`, its cell.
        targets: `[m, d]`.
        potential: `[m]`.
        cells: `[c]`, to be raised.
        wanted: `[c]`, samples that each of them is to win.

    """
    from scipy.spatial import cKDTree

    x = noise.double().numpy()
    y = targets.double().numpy()
    largest = best.numpy()
    h = potential.numpy()
    count = winner.bincount(minlength=len(y)).numpy()
    # The samples of cell j are order[first[j] : first[j] + count[j]].
    order = winner.argsort(stable=True).numpy()
    first = count.cumsum() - count
    filled = np.flatnonzero(count)
    tree = cKDTree(y[filled])
    ranks = list(range(1, min(NEIGHBOURS, len(filled)) + 1))
    parts = []
    for chunk, wanted_of_chunk in zip(cells.split(CELLS), wanted.split(CELLS), strict=True):
        raised = chunk.numpy()
        _, neighbour = tree.query(y[raised], k=ranks)
        near = filled[neighbour]  # [c, k]
        taken = np.minimum(count[near], NEAR_SAMPLES)
        row, sample = _pairs(taken, first[near], order)
        cell = raised[row]
        score = np.einsum("pd,pd->p", x[sample], y[cell]) + h[cell]
        shortfall = largest[sample] - score
        # To win `wanted` samples is to make up the shortfall of the one of that rank.
        ranked = shortfall[np.lexsort((shortfall, row))]
        per_cell = taken.sum(1)
        start = per_cell.cumsum() - per_cell
        parts.append(ranked[start + np.minimum(wanted_of_chunk.numpy(), per_cell) - 1])
    return torch.from_numpy(np.concatenate(parts))


def _pairs(
    taken: np.ndarray, first: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The row `[p]` and the sample `[p]` of each pair of a cell to raise and a sample near it.

    Args:
        taken: `[c, k]`, the samples to take from the k neighbours of each of the c cells.
        first: `[c, k]`, where those of a neighbour begin in `order`.
        order: the samples, sorted by cell.

    """
    # The ranges first .. first + taken, one after the other, without a loop in Python.
    row = np.repeat(np.arange(len(taken)), taken.sum(1))
    lengths = taken.ravel()
    ends = lengths.cumsum()
    within = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    return row, order[np.repeat(first.ravel(), lengths) + within]


def _least_shortfalls(
    dual: Semidual, potential: Tensor, sample: Sample, cells: Tensor, k: int
) -> Tensor:
    """The k least shortfalls `[c, k]` of the scores of `cells` `[c]` from the best, sorted."""
    least = torch.empty(len(cells), 0, dtype=torch.float64, device=cells.device)
    targets = dual.targets[cells]
    h = potential[cells, None]
    for noise in sample():
        best, _ = winners(noise, dual.targets, potential)
        # The shortfall u(x) - <x, y> - h is least where <y, x> - u(x) is largest, so the samples
        # take the part of the sites.
        largest, _ = winners(targets, noise, -best[:, 0], min(k, len(noise)))
        joined = torch.cat([least, -largest - h], 1)
        least = joined.topk(min(k, joined.shape[1]), largest=False).values
    return least.sort(1).values
