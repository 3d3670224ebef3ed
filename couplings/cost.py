"""Costs between images and noise, made safe against scale before anything is squared."""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from couplings.errors import require

Cost = Literal["sqeuclidean", "l2", "dot", "angular"]

# Below this mean, squares of float32 may have been rounded to nothing.
SAFE_SQUARE = 1e-25
# So many elements stay in the cache of a core. NumPy goes through them on the calling thread, with
# half of torch's overhead a call.
BLOCK = 2**16
# From 2^15 elements on torch uses further threads, which a trainer keeps busy: waiting for them
# takes longer than the sum itself.
TORCH_BLOCK = 2**15 - 1
CUDA_BLOCK = 2**26
# LAPACK counts the workspace of an n x n eigenproblem, 1 + 6 n + 2 n^2 numbers, in a signed integer
# of 32 bits.
LARGEST_EIGENPROBLEM = 32766
# A shift this many times as large as what it leaves costs float32 three of its bits.
MOST_SHIFT = 8.0
# Eigenvalues below this share of the largest are rounding: the images do not span their directions.
NO_SPAN = 1e-12


def assignment_cost(images: Tensor, noise: Tensor, cost: Cost = "sqeuclidean") -> Tensor:
    """A matrix `[n, n]` with the optimal permutations of `cost`, up to scale and shifts.

    Squared L2 and -<x, y> share their optimum: the squared norms are summed over all rows and all
    columns whatever the permutation. The matrix is shifted until every column has mean 0 before
    every row's least cost is 0, which assignment solvers finish several times sooner than the
    squared distances themselves.

    Args:
        images: `[n, d]` float32 or float64, finite.
        noise: `[n, d]`, likewise.
        cost: `sqeuclidean`, `dot` (the same optimum), `l2`, the plain distance, or `angular`, the
            angle between x and y.

    """
    if cost == "l2":
        return reduced(-_l2(images, noise))[0]
    if cost == "angular":
        return reduced(-_angles(images, noise))[0]
    return product_cost(images, noise)[0]


def product_cost(images: Tensor, noise: Tensor) -> tuple[Tensor, bool]:
    """The `assignment_cost` of squared L2, and True if it is in the units of <x, y>.

    Otherwise its scale is unknown.
    """
    # On CUDA a float32 product may run in TF32, whose three digits do not order the pairs.
    dtype = torch.float64 if images.is_cuda else torch.float32
    matrix, trusted = reduced(images.to(dtype) @ noise.to(dtype).T)
    if trusted:
        return matrix, True
    return reduced(_centred(images).to(dtype) @ _centred(noise).to(dtype).T)[0], False


def reduced(gain: Tensor) -> tuple[Tensor, bool]:
    """Gains `[n, n]` as costs of the same optimum on the CPU, and True if they can be trusted.

    Column means come off before row minima, which makes every row's least cost 0. Gains on the CPU
    are overwritten.

    The costs are not trusted if the product left the range of float32 or if the shifts dwarf what
    is left: an offset of the data then took its digits, and the data must be centred before they
    are multiplied.
    """
    gain = gain.cpu()
    matrix = gain.numpy()
    spread = 0.0
    row_shift = 0.0
    # Overflow is found by the result, so no caller needs to hear of it.
    with np.errstate(all="ignore"):
        shift = matrix.sum(0) / len(matrix)
        for rows in blocks(matrix.shape):
            block = matrix[rows]
            block -= shift
            high = block.max(1, keepdims=True)
            np.subtract(high, block, out=block)
            # What is not finite spoils the shift of its column, so it is in every block, and this
            # stays 0.
            spread = max(spread, float(block.max()))
            row_shift = max(row_shift, float(np.abs(high).max()))
        largest_shift = max(float(np.abs(shift).max()), row_shift)
        dwarfed = largest_shift > MOST_SHIFT * spread
    return gain, math.isfinite(spread) and spread > SAFE_SQUARE and not dwarfed


def blocks(shape: tuple[int, ...], elements: int = BLOCK) -> Iterator[slice]:
    """The rows of a matrix of shape `[n, d]`, in slices that hold about so many elements."""
    step = max(1, elements // shape[1])
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def negative_dot(images: Tensor, noise: Tensor) -> Tensor:
    """-<x, y> / (scale_of(x) scale_of(y)), `[n, n]` float64, which a relative epsilon refers to."""
    return -(_unit(images).double() @ _unit(noise).double().T)


def mean_pair_cost(images: Tensor, noise: Tensor, index: Tensor | None = None) -> float:
    """The mean squared distance of the pairs; 0.0 for no pairs.

    It is not finite if and only if the data are not, or their squares leave the range of float64.

    Args:
        images: `[n, d]`.
        noise: `[n, d]`.
        index: `[n]`, the noise sample of each image; its own by default.

    """
    if not len(images):
        return 0.0
    mean = _sum_of_squares(images, noise, index) / len(images)
    if math.isfinite(mean) and mean > SAFE_SQUARE:
        return mean
    # Slower, but safe: the squares have left the range of the data's dtype.
    scale = common_scale(images, noise)
    return float(pair_distances(images, noise, index, scale).square().mean()) * scale * scale


def pair_distances(
    images: Tensor, noise: Tensor, index: Tensor | None = None, scale: float = 1.0
) -> Tensor:
    """||x_i - y_index[i]|| / scale, `[n]` float64, the norms summed in the dtype of the data."""
    norms = []
    for part in blocks(images.shape, CUDA_BLOCK if images.is_cuda else TORCH_BLOCK):
        x = images[part]
        y = noise[part] if index is None else noise.index_select(0, index[part])
        # Divided before the difference, which could overflow.
        difference = x - y if scale == 1 else x / scale - y / scale
        norms.append(torch.linalg.vector_norm(difference, dim=1))
    return torch.cat(norms).double()


def common_scale(images: Tensor, noise: Tensor) -> float:
    """The power of two by which both can be divided so that their squares stay in range."""
    return max(scale_of(images), scale_of(noise))


def squared_distances(images: Tensor, noise: Tensor) -> Tensor:
    """||x_i - y_j||^2, `[n, n]` float64, for couplings whose choice depends on the norms too."""
    scale = common_scale(images, noise)
    x = images.double() / scale
    y = noise.double() / scale
    # An offset of both would cancel between the three terms, with most of their digits.
    centre = y.mean(0)
    x = x - centre
    y = y - centre
    squares = x.square().sum(1, keepdim=True) + y.square().sum(1) - 2 * (x @ y.T)
    return squares.clamp_min(0) * scale * scale


def squared_distances_bytes(n: int, d: int) -> int:
    """The peak memory of `squared_distances`: both clouds and three matrices in float64."""
    return 24 * n * n + 16 * n * d


def principal_axes(images: Tensor, components: int) -> Tensor:
    """The first principal axes of the images as columns `[d, components]`.

    There are fewer if the images span fewer. They are the eigenvectors of the smaller Gram matrix,
    in O(min(n, d)^3).

    Raises:
        CouplingError: both n and d are above `LARGEST_EIGENPROBLEM`.

    """
    require(
        min(images.shape) <= LARGEST_EIGENPROBLEM,
        f"principal components of {list(images.shape)} images and values: LAPACK cannot count the"
        f" work of more than {LARGEST_EIGENPROBLEM:,} of both: take a smaller pool, smaller images,"
        " or project=none",
    )
    x = _centred(images).double()
    n, d = x.shape
    if d <= n:
        _, axes = torch.linalg.eigh(x.T @ x)
    else:
        values, vectors = torch.linalg.eigh(x @ x.T)
        least = NO_SPAN * values[-1].clamp_min(torch.finfo(values.dtype).tiny)
        spanned = values > least
        axes = (x.T @ vectors[:, spanned]) / values[spanned].sqrt()
    # `eigh` sorts from the smallest eigenvalue up.
    return axes[:, -components:].to(images.dtype)


def scale_of(x: Tensor) -> float:
    """The power of two in (peak / 2, peak] of the largest magnitude (1.0 for zeros).

    Dividing by it is exact.
    """
    # Without a copy of the data, which `abs` would make.
    low, high = torch.aminmax(x)
    peak = max(-float(low), float(high))
    return math.ldexp(1.0, math.frexp(peak)[1] - 1) if peak else 1.0


def _sum_of_squares(images: Tensor, noise: Tensor, index: Tensor | None) -> float:
    """The sum of ||x_i - y_index[i]||^2 in the dtype of the data, whose range it may leave."""
    if images.is_cuda:
        return float(pair_distances(images, noise, index).square().sum())
    x = images.numpy()
    y = noise.numpy()
    order = None if index is None else index.numpy()
    total = 0.0
    buffer = None
    with np.errstate(all="ignore"):
        for rows in blocks(x.shape):
            # One buffer for all blocks: allocating it each time would take longer than the sums.
            if buffer is None:
                buffer = np.empty_like(x[rows])
            difference = buffer[: rows.stop - rows.start]
            if order is None:
                other = y[rows]
            else:
                # `clip` lets NumPy gather straight into the buffer; the index was checked before.
                other = y.take(order[rows], 0, out=difference, mode="clip")
            flat = np.subtract(x[rows], other, out=difference).reshape(-1)
            total += float(flat @ flat)
    return total


def _unit(x: Tensor) -> Tensor:
    return x / scale_of(x)


def _centred(x: Tensor) -> Tensor:
    """`[n, d]` less its mean, at a scale of about 1."""
    # Scaled before, so that nothing overflows, and after, so that an offset costs no digits.
    x = _unit(x)
    return _unit(x - x.mean(0))


def _l2(images: Tensor, noise: Tensor) -> Tensor:
    """||x_i - y_j|| less the norms of the larger cloud, up to scale, `[n, n]` float64."""
    scale = common_scale(images, noise)
    x = images.double() / scale
    y = noise.double() / scale
    if scale_of(x) < scale_of(y):
        distance = _shifted_distance(y, x).T
    else:
        distance = _shifted_distance(x, y)
    # In units of its largest: it shrinks with the smaller cloud, and float32 would lose it.
    return _unit(distance)


def _angles(images: Tensor, noise: Tensor) -> Tensor:
    """arccos(<x, y> / (|x| |y|)), `[n, n]` float64; a right angle to a point at 0."""
    x = _unit(images.double())
    y = _unit(noise.double())
    x = torch.nn.functional.normalize(x, dim=1, eps=torch.finfo(x.dtype).tiny)
    y = torch.nn.functional.normalize(y, dim=1, eps=torch.finfo(y.dtype).tiny)
    # Rounding takes equal directions beyond 1.
    return (x @ y.T).clamp_(-1, 1).arccos_()


def _shifted_distance(far: Tensor, small: Tensor) -> Tensor:
    """||f_i - s_j|| - ||f_i||, `[n, n]`.

    (||s||^2 - 2 <f, s>) / (||f - s|| + ||f||) has no cancellation when one cloud is far larger than
    the other, where the distances themselves would all round to ||f||.
    """
    centre = small.mean(0)
    far = far - centre
    small = small - centre
    far_norm = far.norm(dim=1, keepdim=True)  # [n, 1]
    excess = small.square().sum(1) - 2 * (far @ small.T)  # ||f - s||^2 - ||f||^2, [n, n]
    distance = (far_norm.square() + excess).clamp_min(0).sqrt()
    return excess / (distance + far_norm).clamp_min(torch.finfo(torch.float64).tiny)
