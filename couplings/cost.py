"""Costs between images and noises. All of them are made safe against scale before anything is squared."""

import math
from typing import Literal

import torch
from torch import Tensor

Cost = Literal["sqeuclidean", "l2", "dot"]


def assignment_cost(images: Tensor, noise: Tensor, cost: Cost = "sqeuclidean") -> Tensor:
    """A matrix `[n, n]` with the optimal permutations of `cost`, up to scale and row and column shifts.

    Squared L2 and -<x, y> share their optimum: the squared norms are summed over all rows and all columns
    whatever the permutation. `-<x - mean, y - mean>` is both of them double-centred, which assignment solvers
    finish several times sooner than the squared distances themselves.

    Args:
        images: `[n, d]` float32 or float64, finite.
        noise: `[n, d]`, likewise.
        cost: `sqeuclidean`, `dot` (the same optimum) or `l2`, the plain distance.

    """
    if cost == "l2":
        return _l2(images, noise)
    # On CUDA a float32 product may run in TF32, whose three digits do not order the pairs.
    dtype = torch.float64 if images.is_cuda else torch.float32
    return -(_centred(images).to(dtype) @ _centred(noise).to(dtype).T)


def negative_dot(images: Tensor, noise: Tensor) -> Tensor:
    """-<x, y> up to a positive factor, `[n, n]` float64: the cost that a relative epsilon refers to."""
    return -(_unit(images).double() @ _unit(noise).double().T)


def double_centred(matrix: Tensor) -> Tensor:
    """The matrix less its row and column means: its optimal permutations and entropic plans stay."""
    return matrix - matrix.mean(0) - matrix.mean(1, keepdim=True) + matrix.mean()


def mean_pair_cost(images: Tensor, noise: Tensor) -> float:
    """The mean over i of ||x_i - y_i||^2, for `[n, d]` each; 0.0 for no pairs."""
    if not len(images):
        return 0.0
    scale = max(_scale(images), _scale(noise))
    distance = torch.linalg.vector_norm(images / scale - noise / scale, dim=1, dtype=torch.float64)
    return float(distance.square().mean()) * scale * scale


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
