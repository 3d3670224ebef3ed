"""The exact assignment by the Jonker-Volgenant algorithm, in float32."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from couplings.batch._exact import Exact
from couplings.contract import Pairing, Pool, Saving, require
from couplings.cost import blocks

# The library finds cell (i, j) at i n + j in a signed integer of 32 bits, and crashes the process
# where that wraps.
LARGEST = math.isqrt(2**31 - 1)
# Prices stay within three ranges of the costs: below 2^24, where float32 adds whole numbers
# exactly.
LEVELS = 2**21
# Costs below this are scaled up first, else LEVELS / peak could leave the range of float32.
SMALL = 2.0**-100
# Up to so many coordinates prices of an entropic plan save more than they cost: pools of 512 in the
# plane are solved 4 times as quickly, on a line 8 times. From 8 coordinates on they would delay.
FEW_COORDINATES = 4
# In larger pools the plan would take more memory than the costs themselves may.
FEW_IMAGES = 8192
EPSILON = 0.05  # of that plan, in standard deviations of the costs
ITERATIONS = 30


@dataclass(frozen=True, kw_only=True)
class Lapjv(Exact):
    """The permutation of the noise samples with the least total cost.

    It is usually the quickest exact solver. It is exact for costs rounded to 2^-21 of their range,
    so a near-tie finer than that may fall either way.

    Cost: O(n^3) time, 4 n^2 bytes; at most 46,340 images at once.

    Source: Jonker and Volgenant 1987, "A shortest augmenting path algorithm for dense and sparse
    linear assignment problems".
    """

    def check_count(self, n: int) -> None:
        """At most `LARGEST` images at once."""
        require(
            n <= LARGEST,
            f"{self}: its solver counts pairs in 32 bits, so it takes {LARGEST:,} images at once,"
            f" not {n:,}: take a smaller pool, hungarian, or semidiscrete",
        )

    def peak_bytes(self, n: int, d: int) -> int:
        """The costs in float32, in place, and the kernel of the prices if there are any."""
        kernel = 8 * n * n if _is_priced(n, d) else 0
        return self.matrix_bytes(n) + kernel

    def solve(self, pool: Pool) -> Pairing:
        """The optimal permutation of the rounded cost."""
        from lapjv import lapjv

        self.check_count(len(pool.images))
        matrix, is_squared = self.costs(pool)
        if _is_priced(*pool.images.shape):
            subtract_prices(matrix.numpy())
        # Before rounding, which overwrites the matrix.
        level = float(matrix.numpy().max()) / LEVELS
        whole = whole_numbers(matrix).numpy()
        columns, _, _ = lapjv(whole)
        saving = _saving(whole, columns, level) if is_squared else None
        return Pairing(torch.from_numpy(columns.astype(np.int64)), saving=saving)


def _is_priced(n: int, d: int) -> bool:
    return n <= FEW_IMAGES and d <= FEW_COORDINATES


def subtract_prices(cost: np.ndarray) -> None:
    """Subtract from every column of costs `[n, n]`, in place, its price in an entropic plan.

    From every row its least cost is taken off after that. The optimal permutation stays, because
    every permutation loses the same; but near-optimal prices leave the solver few rows to settle.
    The prices are those of Sinkhorn's algorithm (Cuturi 2013).

    Args:
        cost: least 0 in every row; of any floating dtype.

    """
    epsilon = EPSILON * float(cost.std(dtype=np.float64))
    # Of equal costs every permutation is optimal.
    if epsilon == 0:
        return
    # Where a kernel underflows, prices are poor but finite, and any finite prices are allowed.
    with np.errstate(all="ignore"):
        kernel = np.exp(cost.astype(np.float64) / -epsilon)
        tiny = np.finfo(np.float64).tiny
        rows = np.ones(len(cost))
        for _ in range(ITERATIONS):
            columns = 1 / (rows @ kernel + tiny)
            rows = 1 / (kernel @ columns + tiny)
        prices = epsilon * np.log(columns)
    if np.isfinite(prices).all():
        cost -= prices.astype(cost.dtype)
        cost -= cost.min(axis=1, keepdims=True)


def whole_numbers(cost: Tensor) -> Tensor:
    """Costs `[n, n]` with least 0, scaled and rounded to whole float32 numbers in [0, 2^21].

    A float32 cost is overwritten. Rounding in float32 makes row reduction repeat steps that change
    no price, slow or endless on near-ties such as 1-D data. On whole numbers every step makes
    progress.
    """
    whole = cost.cpu().float()
    matrix = whole.numpy()
    peak = float(matrix.max()) or 1.0
    if peak < SMALL:
        matrix *= 1 / SMALL
        peak /= SMALL
    # In place, block by block: a second matrix would double the memory.
    for rows in blocks(matrix.shape):
        block = matrix[rows]
        block *= LEVELS / peak
        np.rint(block, out=block)
    return whole


def _saving(whole: np.ndarray, columns: np.ndarray, level: float) -> Saving:
    """The saving of squared distances, from costs `[n, n]` in whole numbers of levels.

    But for shifts of rows and columns, ||x - y||^2 is -2 <x, y>.
    """
    paired = whole[np.arange(len(whole)), columns]
    levels = float((whole.diagonal() - paired).mean(dtype=np.float64))
    # Two roundings by half a level each, doubled by the factor 2, and those of float32.
    return Saving(2 * level * levels, error=4 * level)
