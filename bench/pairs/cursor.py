"""The place of a training in its sequence of pools, and what a resumed run finds there."""

from __future__ import annotations

from torch import Tensor

from bench.pairs.pool import Coupled, Pairs

State = dict[str, Tensor] | None
Counted = tuple[dict[str, float], Tensor]
"""Report of a pool, and the numbers of its images."""


class PoolCursor:
    """Cuts a sequence of coupled pools into batches.

    Batches run on from one pool to the next, so neither size has to divide the other. With pools
    of 6 pairs and batches of 4::

        pools     | 0 0 0 0 0 0 | 1 1 1 1 1 1 | 2 2 2 2 2 2 |
        batches   | 0 0 0 0 | 1 1 1 1 | 2 2 2 2 | 3 3 3 3 |
                            ^         ^         ^
        stopped after batch 0         1         2
        number, skip        0, 4      1, 2      2, 0

    A checkpoint holds no pairs. A run that was stopped after batch 1 draws pool 1 again, couples it
    again, and skips the first 2 pairs, which batch 1 took. So four things depend on the place:

    - A coupling that learns must be saved as it was *before* pool 1, or it would learn from that
      pool twice. After batch 2, where pool 1 is used up, it is saved as it was *after* pool 1.
    - A coupling that follows the model pairs pool 1 with weights that have changed since. It is
      saved with the pairing of pool 1, and after batch 2 with nothing.
    - The cost of pool 1 was counted before the stop; the resumed run does not count it again.
    - The cost of a pool is counted with the batch that first takes from it. A run that is stopped
      while it waits for a pool has not counted it, and the resumed run does.

    Args:
        step: of the training, where the next batch begins.
        batch: pairs in a batch.
        pool: pairs in a pool.
        state: of a coupling that learns, before pool ``number``, or the pairing of that pool by one
            that follows the model; None for others.

    Attributes:
        number: of the pool to be added next.
        skip: pairs of that pool that earlier batches took.

    """

    def __init__(self, step: int, batch: int, pool: int, state: State = None):
        self.batch = batch
        # Found by the step alone: a checkpoint stores no place.
        self.number, self.skip = divmod(step * batch, pool)
        self._left: Pairs | None = None
        self._before = state
        self._after = state
        self._uncounted: list[Counted] = []

    @property
    def needs_pool(self) -> bool:
        """True if the pairs left of the pools do not fill a batch."""
        return self._left is None or len(self._left) < self.batch

    @property
    def state(self) -> State:
        """The coupling's state for a run that resumes here."""
        return self._before if self._left is not None and len(self._left) else self._after

    def add(self, coupled: Coupled) -> None:
        """Add pool ``number``."""
        # Only the first pool of a resumed run has pairs to skip.
        pairs = coupled.pairs[self.skip :]
        self._left = pairs if self._left is None else self._left.joined(pairs)
        # Two states are enough: a batch that ends in this pool has used up all earlier ones.
        self._before = self._after if coupled.again is None else coupled.again
        self._after = coupled.state
        # A pool that earlier batches took from was counted with them.
        if not self.skip:
            self._uncounted.append((coupled.report, coupled.rows))
        self.number += 1
        self.skip = 0

    def take(self) -> tuple[Pairs, list[Counted]]:
        """The next batch, and what is to be counted of the pools that it is the first to take
        from.
        """
        assert self._left is not None
        batch = self._left[: self.batch]
        self._left = self._left[self.batch :]
        counted = self._uncounted
        self._uncounted = []
        return batch, counted
