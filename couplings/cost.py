"""Costs between images and noises. All of them are made safe against scale before anything is squared."""

import math
from itertools import repeat
from typing import Literal

import torch
from torch import Tensor

Cost = Literal["sqeuclidean", "l2", "dot"]

# Below this mean, squares of float32 may have been rounded to nothing.
SAFE_SQUARE = 1e-25
# From 2^15 elements on torch calls on further threads, which a trainer keeps busy: waiting for them
# takes longer than the sum itself.
BLOCK = 2**15 - 1
# A shift this many times as large as what it leaves costs float32 three of its bits.
MOST_SHIFT = 8.0


def assignment_cost(images: Tensor, noise: Tensor, cost: Cost = "sqeuclidean") -> Tensor:
    """A matrix `[n, n]` with the optimal permutations of `cost`, up to scale and row and column shifts.

    Squared L2 and -<x, y> share their optimum: the squared norms are summed over all rows and all columns
    whatever the permutation. The matrix is shifted until every column has mean 0 before every row's least
    cost is 0, which assignment solvers finish several times sooner than the squared distances themselves.

    Args:
        images: `[n, d]` float32 or float64, finite.
        noise: `[n, d]`, likewise.
        cost: `sqeuclidean`, `dot` (the same optimum) or `l2`, the plain distance.

    """
    if cost == "l2":
        return _shift(-_l2(images, noise))[0]
    # On CUDA a float32 product may run in TF32, whose three digits do not order the pairs.
    dtype = torch.float64 if images.is_cuda else torch.float32
    reduced, trusted = _shift(images.to(dtype) @ noise.to(dtype).T)
    if trusted:
        return reduced
    return _shift(_centred(images).to(dtype) @ _centred(noise).to(dtype).T)[0]


def _shift(gain: Tensor) -> tuple[Tensor, bool]:
    """`gain` `[n, n]`, which is overwritten, as costs with every row's least at 0, and whether to trust them.

    They are not trusted where the product left the range of float32 or where the shifts dwarf what is left:
    an offset of the data then took its digits, and the data must be centred before they are multiplied.
    """
    rows = blocks(gain)
    shift = torch.stack([block.sum(0) for block in rows]).sum(0) / len(gain)
    high = torch.cat([block.sub_(shift).amax(1) for block in rows])
    low = torch.cat([block.amin(1) for block in rows])
    for block, top in zip(rows, high[:, None].split(len(rows[0])), strict=True):
        torch.sub(top, block, out=block)
    spread = float((high - low).max())
    dwarfed = max(float(shift.abs().max()), float((high + low).abs().max()) / 2) > MOST_SHIFT * spread
    return gain, math.isfinite(spread) and spread > SAFE_SQUARE and not dwarfed


def blocks(matrix: Tensor) -> tuple[Tensor, ...]:
    """The matrix `[n, d]` as views of so few rows each that a CPU core goes through one within its cache."""
    return matrix.split(max(1, (2**26 if matrix.is_cuda else BLOCK) // matrix.shape[1]))


def negative_dot(images: Tensor, noise: Tensor) -> Tensor:
    """-<x, y> up to a positive factor, `[n, n]` float64: the cost that a relative epsilon refers to."""
    return -(_unit(images).double() @ _unit(noise).double().T)


def double_centred(matrix: Tensor) -> Tensor:
    """The matrix less its row and column means: its optimal permutations and entropic plans stay."""
    return matrix - matrix.mean(0) - matrix.mean(1, keepdim=True) + matrix.mean()


def mean_pair_cost(images: Tensor, noise: Tensor, index: Tensor | None = None) -> float:
    """The mean over i of ||x_i - y_i||^2, or of ||x_i - y_index[i]||^2, for `[n, d]` each; 0.0 for no pairs.

    Not finite if and only if the data are not, or their squares leave the range of float64.
    """
    if not len(images):
        return 0.0
    mean = _mean_square(images, noise, index, 1.0)
    if math.isfinite(mean) and mean > SAFE_SQUARE:
        return mean
    scale = max(_scale(images), _scale(noise))
    return _mean_square(images, noise, index, scale) * scale * scale


def _mean_square(images: Tensor, noise: Tensor, index: Tensor | None, scale: float) -> float:
    """The mean square of `(x - y) / scale` over the pairs."""
    parts = blocks(images)
    chosen = blocks(noise) if index is None else map(noise.index_select, repeat(0), index.split(len(parts[0])))
    norms = []
    for x, y in zip(parts, chosen, strict=True):
        difference = x - y if scale == 1 else x / scale - y / scale
        norms.append(torch.linalg.vector_norm(difference, dim=1))
    return float(torch.cat(norms).double().square().mean())


def _scale(x: Tensor) -> float:
    """The power of two in (peak / 2, peak] of the largest magnitude (1.0 for zeros): it divides exactly."""
    peak = float(x.abs().max())
    return math.ldexp(1.0, math.frexp(peak)[1] - 1) if peak else 1.0


def _unit(x: Tensor) -> Tensor:
    return x / _scale(x)


def _centred(x: Tensor) -> Tensor:
    """`[n, d]` less its mean, scaled to about 1 before (no overflow) and after (no loss to an offset)."""
    x = _unit(x)
    return _unit(x - x.mean(0))


def _l2(images: Tensor, noise: Tensor) -> Tensor:
    """||x_i - y_j|| less the norms of the larger cloud, `[n, n]` float64.

    ||f - s|| - ||f|| = (||s||^2 - 2 <f, s>) / (||f - s|| + ||f||) has no cancellation when one cloud is far
    larger than the other, where the distances themselves would all round to ||f||.
    """
    scale = max(_scale(images), _scale(noise))
    x, y = images.double() / scale, noise.double() / scale
    if _scale(x) < _scale(y):
        return _shifted_distance(y, x).T
    return _shifted_distance(x, y)


def _shifted_distance(far: Tensor, small: Tensor) -> Tensor:
    centre = small.mean(0)
    far, small = far - centre, small - centre
    far_norm = far.norm(dim=1, keepdim=True)  # [n, 1]
    excess = small.square().sum(1) - 2 * (far @ small.T)  # ||f - s||^2 - ||f||^2, [n, n]
    distance = (far_norm.square() + excess).clamp_min(0).sqrt()
    return excess / (distance + far_norm).clamp_min(torch.finfo(torch.float64).tiny)
