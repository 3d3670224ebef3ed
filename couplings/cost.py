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
        return reduced(-_l2(images, noise))[0]
    # On CUDA a float32 product may run in TF32, whose three digits do not order the pairs.
    dtype = torch.float64 if images.is_cuda else torch.float32
    matrix, trusted = reduced(images.to(dtype) @ noise.to(dtype).T)
    if trusted:
        return matrix
    return reduced(_centred(images).to(dtype) @ _centred(noise).to(dtype).T)[0]


def reduced(gain: Tensor) -> tuple[Tensor, bool]:
    """Gains `[n, n]` as costs of the same optimum with every row's least at 0, and whether to trust them.

    Column means come off before row minima. The gains are overwritten.

    The costs are not trusted where the product left the range of float32 or where the shifts dwarf what is left:
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
    """-<x, y> / (scale_of(x) scale_of(y)), `[n, n]` float64: the cost that a relative epsilon refers to."""
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
    mean = float(pair_distances(images, noise, index).square().mean())
    if math.isfinite(mean) and mean > SAFE_SQUARE:
        return mean
    scale = common_scale(images, noise)
    return float(pair_distances(images, noise, index, scale).square().mean()) * scale * scale


def pair_distances(images: Tensor, noise: Tensor, index: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """||x_i - y_index[i]|| / scale, `[n]` float64, the norms summed in the dtype of the data."""
    parts = blocks(images)
    chosen = blocks(noise) if index is None else map(noise.index_select, repeat(0), index.split(len(parts[0])))
    norms = []
    for x, y in zip(parts, chosen, strict=True):
        difference = x - y if scale == 1 else x / scale - y / scale
        norms.append(torch.linalg.vector_norm(difference, dim=1))
    return torch.cat(norms).double()


def common_scale(images: Tensor, noise: Tensor) -> float:
    """The power of two by which both can be divided so that their squares stay in range."""
    return max(scale_of(images), scale_of(noise))


def squared_distances(images: Tensor, noise: Tensor) -> Tensor:
    """||x_i - y_j||^2, `[n, n]` float64, for couplings whose choice depends on the norms too."""
    scale = common_scale(images, noise)
    x, y = images.double() / scale, noise.double() / scale
    centre = y.mean(0)
    x, y = x - centre, y - centre
    squares = x.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * (x @ y.T)
    return squares.clamp_min(0) * scale * scale


def principal_axes(images: Tensor, components: int) -> Tensor:
    """The first principal axes of the images as columns `[d, components]`, or as many as the images span.

    By the eigenvectors of the smaller Gram matrix, in O(min(n, d)^3).
    """
    x = _centred(images).double()
    n, d = x.shape
    if d <= n:
        axes = torch.linalg.eigh(x.T @ x)[1]
    else:
        values, vectors = torch.linalg.eigh(x @ x.T)
        spanned = values > 1e-12 * values[-1].clamp_min(torch.finfo(values.dtype).tiny)
        axes = (x.T @ vectors[:, spanned]) / values[spanned].sqrt()
    return axes[:, -components:].to(images.dtype)


def scale_of(x: Tensor) -> float:
    """The power of two in (peak / 2, peak] of the largest magnitude (1.0 for zeros): it divides exactly."""
    peak = float(x.abs().max())
    return math.ldexp(1.0, math.frexp(peak)[1] - 1) if peak else 1.0


def _unit(x: Tensor) -> Tensor:
    return x / scale_of(x)


def _centred(x: Tensor) -> Tensor:
    """`[n, d]` less its mean, scaled to about 1 before (no overflow) and after (no loss to an offset)."""
    x = _unit(x)
    return _unit(x - x.mean(0))


def _l2(images: Tensor, noise: Tensor) -> Tensor:
    """||x_i - y_j|| less the norms of the larger cloud, `[n, n]` float64.

    ||f - s|| - ||f|| = (||s||^2 - 2 <f, s>) / (||f - s|| + ||f||) has no cancellation when one cloud is far
    larger than the other, where the distances themselves would all round to ||f||.
    """
    scale = common_scale(images, noise)
    x, y = images.double() / scale, noise.double() / scale
    if scale_of(x) < scale_of(y):
        return _shifted_distance(y, x).T
    return _shifted_distance(x, y)


def _shifted_distance(far: Tensor, small: Tensor) -> Tensor:
    centre = small.mean(0)
    far, small = far - centre, small - centre
    far_norm = far.norm(dim=1, keepdim=True)  # [n, 1]
    excess = small.square().sum(1) - 2 * (far @ small.T)  # ||f - s||^2 - ||f||^2, [n, n]
    distance = (far_norm.square() + excess).clamp_min(0).sqrt()
    return excess / (distance + far_norm).clamp_min(torch.finfo(torch.float64).tiny)
