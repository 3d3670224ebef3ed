"""Nesterov's momentum with adaptive restart, for iterations on a potential.

Iterations of Sinkhorn's kind are gradient steps of unit length on a convex semi-dual. Momentum,
dropped whenever it points uphill, takes a half to a tenth of the iterations and has no parameter
(O'Donoghue & Candes 2015, arXiv 1204.3982, the gradient scheme).
"""

from __future__ import annotations

from torch import Tensor


class Momentum:
    """The steps since the last restart, from a starting potential `[n]`."""

    def __init__(self, start: Tensor):
        self._last = start
        self._run = 0

    def step(self, g: Tensor, step: Tensor, downhill: Tensor | None = None) -> Tensor:
        """The next potential `[n]` after a step `[n]` without momentum from g `[n]`.

        Args:
            g: the potential; it may have been shifted since the last step.
            step: the plain iteration.
            downhill: the negative gradient at g up to a factor; the step by default.

        """
        moved = g + step - self._last
        direction = step if downhill is None else downhill
        uphill = float(direction @ moved) < 0
        self._run = 0 if uphill else self._run + 1
        self._last = g + step
        # The weight k / (k + 3) of Nesterov's scheme for functions that are not strongly convex.
        return self._last + self._run / (self._run + 3) * moved
