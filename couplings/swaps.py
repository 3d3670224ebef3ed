"""Pair exchanges: two images swap their noise samples where that lowers the squared distances.

Exchanging the noise samples of images i and j saves 2 <x_i - x_j, z_p(j) - z_p(i)>, two dot
products without any cost matrix. Passes over random couples of images lower the cost step by step
and keep a permutation a permutation. They end where no exchange of two helps, which is above the
optimum: better cycles of three are not found.

Source: Sadr and Gorji 2024, "Collision-based dynamics for multi-marginal optimal transport" (arXiv
2412.16385); 2-opt for assignments.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from couplings.cost import blocks, scale_of

# Elements of a block: the three buffers of that size stay in the cache of a core.
BLOCK = 2**16
CUDA_BLOCK = 2**26
# Dot products of values within these powers of two neither overflow nor vanish in float32.
SAFE_POWER = 2.0**40


def improve(
    images: Tensor,
    noise: Tensor,
    index: Tensor,
    generator: torch.Generator,
    passes: int,
    milliseconds: float | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """A pairing of no higher squared distance, after passes of random exchanges.

    Args:
        images: `[n, d]` float32 or float64, finite.
        noise: `[n, d]`, likewise.
        index: `[n]` int64: the pairing to begin with.
        generator: draws the couples of every pass.
        passes: each tries n / 2 exchanges, in O(n d).
        milliseconds: if given, passes go on for so long instead, one at least.

    Returns:
        The new index, on the device of the images, and for a report `passes` and `swap_rate`, the
        share of the exchanges tried in the last pass that were made.

    """
    goes_on = _counted(passes) if milliseconds is None else _timed(milliseconds)
    index = index.to(images.device, copy=True)
    x = in_range(images)
    z = in_range(noise)
    done = 0
    made = 0
    while goes_on(done):
        made = _pass(x, z, index, generator)
        done += 1
    # The rate of the last pass says whether more passes would pay.
    tried = max(1, len(index) // 2)
    return index, {"passes": float(done), "swap_rate": made / tried}


def _counted(passes: int) -> Callable[[int], bool]:
    return lambda done: done < passes


def _timed(milliseconds: float) -> Callable[[int], bool]:
    # From here on, so that the time to scale the data counts, too.
    end = time.perf_counter() + milliseconds / 1000
    return lambda done: not done or time.perf_counter() < end


def in_range(x: Tensor) -> Tensor:
    """`[n, d]`, divided by a power of two if its dot products could leave the range of float32."""
    scale = scale_of(x)
    # A copy of the data: only where it must be.
    return x if 1 / SAFE_POWER < scale < SAFE_POWER else x / scale


def _pass(x: Tensor, z: Tensor, index: Tensor, generator: torch.Generator) -> int:
    """One pass over disjoint random couples; changes the index in place, returns the exchanges."""
    order = torch.randperm(len(x), generator=generator, device=generator.device).to(x.device)
    half = len(x) // 2
    first = order[:half]
    second = order[half : 2 * half]
    lowers = savings(x, z, first, second, index) > 0
    exchange(index, first[lowers], second[lowers])
    return int(lowers.sum())


def exchange(index: Tensor, i: Tensor, j: Tensor) -> None:
    """Exchange the noise samples of images i and j `[m]`, all distinct, in an index, in place."""
    kept = index[i]
    index[i] = index[j]
    index[j] = kept


def savings(x: Tensor, z: Tensor, i: Tensor, j: Tensor, index: Tensor) -> Tensor:
    """<x_i - x_j, z_index[j] - z_index[i]> `[m]` for couples `[m]`; exactly 0 for equal rows.

    Args:
        x: images `[n, d]`, as `in_range` returns them.
        z: noise `[n, d]`, likewise.
        i: `[m]`.
        j: `[m]`.
        index: `[n]`, the noise sample of each image.

    """
    return _savings_on_gpu(x, z, i, j, index) if x.is_cuda else _savings(x, z, i, j, index)


def _savings_on_gpu(x: Tensor, z: Tensor, i: Tensor, j: Tensor, index: Tensor) -> Tensor:
    saving = x.new_empty(len(i))
    for rows in blocks((len(i), x.shape[1]), CUDA_BLOCK):
        of_images = x[i[rows]] - x[j[rows]]
        of_noise = z[index[j[rows]]] - z[index[i[rows]]]
        saving[rows] = torch.linalg.vecdot(of_images, of_noise)
    return saving


def _savings(x: Tensor, z: Tensor, i: Tensor, j: Tensor, index: Tensor) -> Tensor:
    # NumPy works on the calling thread and gathers into buffers: torch's threads would wait for the
    # cores that a trainer keeps busy, and allocating each block takes as long as the sums.
    d = x.shape[1]
    first, second, other = np.empty((3, max(1, BLOCK // d), d), x.numpy().dtype)
    saving = x.new_empty(len(i))
    for rows in blocks((len(i), d), BLOCK):
        count = rows.stop - rows.start
        of_images = _gathered(x, i[rows], first[:count])
        of_images -= _gathered(x, j[rows], other[:count])
        of_noise = _gathered(z, index[j[rows]], second[:count])
        of_noise -= _gathered(z, index[i[rows]], other[:count])
        saving[rows] = torch.from_numpy(np.einsum("ij,ij->i", of_images, of_noise))
    return saving


def _gathered(x: Tensor, rows: Tensor, out: np.ndarray) -> np.ndarray:
    """Rows `[m]` of x, in a buffer `[m, d]`."""
    # `clip` lets NumPy gather straight into the buffer; the rows are within range.
    return x.numpy().take(rows.numpy(), 0, out=out, mode="clip")
