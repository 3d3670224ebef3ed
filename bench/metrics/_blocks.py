"""Blocks of latents, each of which a jackknife excludes once."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.metrics._moments import Moments


class Blocks:
    """Moments of the features of ``n`` samples in blocks of equal size, in their order.

    Args:
        n: number of samples.
        count: number of blocks; with fewer samples there is a block for each.

    """

    def __init__(self, n: int, count: int) -> None:
        self.n = n
        self._blocks: list[Moments | None] = [None] * min(count, n)
        self._seen = 0

    def update(self, features: Tensor) -> None:
        """Add the features ``[., size]`` of the next samples."""
        rows = torch.arange(self._seen, self._seen + len(features))
        self._seen += len(features)
        # By the number of the sample, so that a block has the same latents in every setting.
        # More samples than announced end the measurement, but not here.
        block_of = (rows * len(self._blocks) // self.n).clamp(max=len(self._blocks) - 1)
        for block in block_of.unique().tolist():
            moments = Moments.of(features[block_of == block])
            before = self._blocks[block]
            self._blocks[block] = moments if before is None else before + moments

    def all(self) -> Moments:
        """The moments of all samples."""
        return self._sum(None)

    def left_out(self) -> list[Moments]:
        """The moments of all samples but those of one block, for each block."""
        return [self._sum(left) for left in range(len(self._blocks))]

    def _sum(self, left: int | None) -> Moments:
        parts = [part for block, part in enumerate(self._blocks) if block != left]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total
