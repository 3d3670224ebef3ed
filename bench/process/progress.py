"""Progress of long work: a bar on a terminal, and a line a minute in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from bench.process.outlook import Minute, duration

_total: list[Callable[[], str]] = []


@contextmanager
def among(total: Callable[[], str]) -> Iterator[None]:
    """A block in which all progress is of one run among several.

    Args:
        total: a few words on all of them, which end each bar and line.

    """
    _total.append(total)
    try:
        yield
    finally:
        _total.pop()


class Progress:
    """Work that is counted.

    Args:
        title: of the work.
        total: how much there is.
        unit: of the count, such as ``img``.
        units: the same in a sentence, such as ``images``.
        initial: how much was done earlier.
        shown: False to show nothing.

    """

    def __init__(
        self, title: str, total: int, unit: str, units: str, initial: int = 0, shown: bool = True
    ):
        self._title = title
        self._units = units
        self._total = total
        self._done = self._initial = initial
        self._note = ""
        is_terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            initial=initial,
            desc=title,
            unit=unit,
            unit_scale=True,
            disable=not (shown and is_terminal),
        )
        self._lines = shown and not is_terminal
        self._minute = Minute()
        self._begun = time.monotonic()

    def update(self, count: int) -> None:
        """Count some more."""
        self._done += count
        if not self._bar.disable:
            words = ", ".join(filter(None, [self._note, *_of_all()]))
            self._bar.set_postfix_str(words, refresh=False)
        self._bar.update(count)
        if self._lines and self._minute.is_over():
            # To stdout, as the lines on runs: both may end in one file.
            print(self.line(time.monotonic() - self._begun), flush=True)

    def note(self, text: str) -> None:
        """Words that end the bar and the lines, such as the loss."""
        self._note = text

    def line(self, seconds: float) -> str:
        """The line of a log, after so many seconds of work."""
        speed = (self._done - self._initial) / seconds
        share = self._done / max(self._total, 1)
        parts = [
            f"{self._title}: {self._done:,} of {self._total:,} {self._units} ({share:.0%})",
            f"{_number(speed)} per second",
        ]
        if speed:
            left = max(self._total - self._done, 0) / speed
            parts.append(f"{duration(left)} left")
        return ", ".join([*parts, *filter(None, [self._note]), *_of_all()])

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def _of_all() -> list[str]:
    """Words on all runs, if there are several."""
    texts = [total() for total in _total[-1:]]
    return [f"all: {text}" for text in texts if text]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
