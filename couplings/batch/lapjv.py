"""The exact assignment by the Jonker-Volgenant algorithm, in float32."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from couplings.batch._exact import Exact
from couplings.contract import Pairing, Pool, Saving, require
from couplings.cost import blocks
from couplings.prices import kernel_bytes

# The library finds cell (i, j) at i n + j in a signed integer of 32 bits, and crashes the process
# where that wraps.
LARGEST = math.isqrt(2**31 - 1)
# Prices stay within three ranges of the costs: below 2^24, where float32 adds whole numbers
# exactly.
LEVELS = 2**21
# Costs below this are scaled up first, else LEVELS / peak could leave the range of float32.
SMALL = 2.0**-100


@dataclass(frozen=True, kw_only=True)
class Lapjv(Exact):
    """The permutation of the noise samples with the least total cost.

    It is usually the quickest exact solver. It is exact for costs rounded to 2^-21 of their range,
    so a near-tie finer than that may fall either way.

    Cost: O(n^3) time; 4 n^2 bytes, 8 n^2 from 256 images (64 if they have at most 4 values) to
    8,192; at most 46,340 images at once.

    Source: Jonker and Volgenant 1987, "A shortest augmenting path algorithm for dense and sparse
    linear assignment problems".
    """

    def check_count(self, n: int) -> None:
        """At most `LARGEST` images at once."""
        require(
            n <= LARGEST,
            f"{self}: its solver counts pairs in 32 bits, so it takes {LARGEST:,} images at once,"
            f" not {n:,}: take a smaller pool, hiref, or semidiscrete",
        )

    def peak_bytes(self, n: int, d: int) -> int:
        """The costs in float32, in place, and the kernel of the prices if there are any."""
        # The kernel comes after the costs, whose own steps may take more.
        entry = 4 if self.cost in ("sqeuclidean", "dot") else 8
        return max(self.matrix_bytes(n), entry * n * n + kernel_bytes(n, self.coordinates(d)))

    def solve(self, pool: Pool) -> Pairing:
        """The optimal permutation of the rounded cost."""
        from lapjv import lapjv

        self.check_count(len(pool.images))
        matrix, is_squared = self.costs(pool)
        # Before rounding, which overwrites the matrix.
        level = float(matrix.numpy().max()) / LEVELS
        whole = whole_numbers(matrix).numpy()
        columns, _, _ = lapjv(whole)
        saving = _saving(whole, columns, level) if is_squared else None
        return Pairing(torch.from_numpy(columns.astype(np.int64)), saving=saving)


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
