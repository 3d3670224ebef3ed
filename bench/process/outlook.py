"""Time left for several runs: as expected at first, then by those that have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

LINE_S = 60.0  # between two lines where there is no terminal
_HOUR_S = 3600.0


class Outlook:
    """Runs that begin and end, and the time that is left for all of them.

    Args:
        expected: seconds of each run; 0 where nothing is expected.
        at_once: runs at the same time.
        clock: seconds that pass.

    """

    def __init__(
        self,
        expected: Sequence[float],
        at_once: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._expected = list(expected)
        self._at_once = at_once
        self._clock = clock
        self._begun: dict[int, float] = {}
        self._took: dict[int, float] = {}

    def began(self, number: int) -> None:
        """Run ``number``, from 0, begins."""
        self._begun[number] = self._clock()

    def ended(self, number: int) -> None:
        """Run ``number`` has ended, in whatever way."""
        self._took[number] = self._clock() - self._begun[number]

    @property
    def left(self) -> float | None:
        """Seconds that are left for all runs; None if nothing is expected of those to come."""
        coming = []
        for number, expected in enumerate(self._expected):
            if number in self._took:
                continue
            if not expected:
                return None
            spent = self._clock() - self._begun[number] if number in self._begun else 0.0
            # A run that takes longer than it should is about to end, for all that is known.
            coming.append(max(self._scale * expected - spent, 0.0))
        return max([sum(coming) / self._at_once, *coming], default=0.0)

    @property
    def _scale(self) -> float:
        """Time of the runs that have ended, over what was expected of them."""
        expected = sum(self._expected[number] for number in self._took)
        return sum(self._took.values()) / expected if expected else 1.0

    def __str__(self) -> str:
        """The line ``2 of 6 runs done, about 12 min left``; empty for a single run."""
        count = len(self._expected)
        if count < 2:
            return ""
        left = self.left
        rest = "" if left is None else f", about {duration(left)} left"
        return f"{len(self._took)} of {count} runs done{rest}"


class Minute:
    """A clock that says once a minute that it is time for a line."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._last = clock()

    def is_over(self) -> bool:
        """True if a minute has passed since this was last true, or since the beginning."""
        now = self._clock()
        if now - self._last < LINE_S:
            return False
        self._last = now
        return True


def duration(seconds: float) -> str:
    """A time in words: ``40 s``, ``12 min``, ``3.5 h``, ``12 days``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / _HOUR_S
    if hours < 72:
        return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h"
    return f"{hours / 24:,.0f} days"
