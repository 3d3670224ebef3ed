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
    x = _in_range(images)
    z = _in_range(noise)
    done = 0
    made = 0
    while goes_on(done):
        made = _exchange(x, z, index, generator)
        done += 1
    tried = max(1, len(index) // 2)
    return index, {"passes": float(done), "swap_rate": made / tried}


def _counted(passes: int) -> Callable[[int], bool]:
    return lambda done: done < passes


def _timed(milliseconds: float) -> Callable[[int], bool]:
    end = time.perf_counter() + milliseconds / 1000
    return lambda done: not done or time.perf_counter() < end


def _in_range(x: Tensor) -> Tensor:
    """`[n, d]`, divided by a power of two if its dot products could leave the range of float32."""
    scale = scale_of(x)
    # A copy of the data: only where it must be.
    return x if 1 / SAFE_POWER < scale < SAFE_POWER else x / scale


def _exchange(x: Tensor, z: Tensor, index: Tensor, generator: torch.Generator) -> int:
    """One pass over disjoint random couples; changes the index in place, returns the exchanges."""
    order = torch.randperm(len(x), generator=generator, device=generator.device).to(x.device)
    half = len(x) // 2
    first = order[:half]
    second = order[half : 2 * half]
    lowers = _saving(x, z, first, second, index) > 0
    i = first[lowers]
    j = second[lowers]
    kept = index[i]
    index[i] = index[j]
    index[j] = kept
    return len(i)


def _saving(x: Tensor, z: Tensor, i: Tensor, j: Tensor, index: Tensor) -> Tensor:
    """<x_i - x_j, z_index[j] - z_index[i]> `[m]` for couples `[m]`; exactly 0 for equal rows."""
    elements = CUDA_BLOCK if x.is_cuda else BLOCK
    saving = x.new_empty(len(i))
    d = x.shape[1]
    # Allocating the gathered rows for every block would take as long as the sums.
    of_images, of_noise, other = x.new_empty(3, max(1, elements // d), d)
    for rows in blocks((len(i), d), elements):
        count = rows.stop - rows.start
        difference = torch.index_select(x, 0, i[rows], out=of_images[:count])
        difference -= torch.index_select(x, 0, j[rows], out=other[:count])
        opposite = torch.index_select(z, 0, index[j[rows]], out=of_noise[:count])
        opposite -= torch.index_select(z, 0, index[i[rows]], out=other[:count])
        saving[rows] = torch.linalg.vecdot(difference, opposite)
    return saving
