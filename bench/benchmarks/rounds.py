"""Rounds of a benchmark: their order, the files they fill, and Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.config import ConfigError
from bench.record import write_csv, write_json

E = TypeVar("E")
STOPPED = "stopped; what was measured is kept"


def rotated(entrants: Sequence[E], numbers: Iterable[int]) -> Iterator[tuple[int, list[E]]]:
    """Each round's number and its order of the entrants, which moves on from round to round.

    Caches, clocks and other processes favour some places in a round; this way no entrant always
    has the same one.
    """
    for number in numbers:
        # Not a random order: each entrant has each place equally often.
        first = number % len(entrants)
        yield number, [*entrants[first:], *entrants[:first]]


@dataclass(frozen=True)
class Results:
    """Files of a benchmark: NAME.csv, which grows with the rounds, and NAME.json, its origin.

    Attributes:
        folder: receives both.
        name: of the files.
        row_type: dataclass of a row.

    """

    folder: Path
    name: str
    row_type: type

    @property
    def csv(self) -> Path:
        """The table."""
        return self.folder / f"{self.name}.csv"

    def begin(self, origin: dict) -> None:
        """Write where the numbers come from.

        Raises:
            ConfigError: the folder cannot be written.

        """
        self._write(write_json, self.folder / f"{self.name}.json", origin)

    def save(self, rows: Sequence[object]) -> None:
        """Write the table as it stands.

        Raises:
            ConfigError: the folder cannot be written.

        """
        self._write(write_csv, self.csv, self.row_type, rows)

    def _write(self, write: Callable[..., None], *args: object) -> None:
        try:
            write(*args)
        except OSError as error:
            raise ConfigError(
                f"cannot write to {self.folder} ({error.strerror}): choose another --out"
            ) from None


def work_through(steps: Iterator[str], total: int, title: str, save: Callable[[], None]) -> int:
    """Take all steps of a benchmark, and save after each: Ctrl-C loses nothing.

    Args:
        steps: each yields a few words on what was measured.
        total: how many there are.
        title: of the progress bar.
        save: writes what was measured so far.

    Returns:
        The exit code: 130 after Ctrl-C, else 0.

    """
    from tqdm import tqdm

    # An empty table at first: a folder that cannot be written shows before any work is done.
    save()
    code = 0
    try:
        with tqdm(total=total, desc=title, unit="step", disable=None) as bar:
            for words in steps:
                save()
                bar.set_postfix_str(words)
                bar.update()
    except KeyboardInterrupt:
        # Not raised further: the table of what was measured is still to be printed.
        print(STOPPED, file=sys.stderr)
        code = 130
    # The last step may have ended between two saves.
    save()
    return code
