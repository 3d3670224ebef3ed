"""How much the page holds. It stays small enough to be mailed; what is left out is counted, and
said where it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

FIGURES = 2_000_000
"""Bytes of figures of the values over NFE and sigma, shared equally by the comparisons."""
CHARTS = 800_000
"""Bytes of charts of guidance, starts and overhead, shared likewise; as many again are for those of
pools.
"""
CELLS = 14_000
"""Cells of tables, of some 150 bytes each, shared likewise."""
PICTURES = 1_000_000
"""Bytes of generated images as base64, of all comparisons together."""


T = TypeVar("T")


@dataclass
class Room:
    """What is left of a share; once something did not fit, nothing more is taken.

    Attributes:
        left: of the share.
        refused: how many things found no room.
        empty: whether nothing was taken yet.

    """

    left: int
    refused: int = 0
    empty: bool = True

    def take(self, make: Callable[[], T], size: Callable[[T], int]) -> T | None:
        """What ``make`` gives if there is room for it; the first always has room. None otherwise."""
        if not self.refused:
            made = make()
            if self.empty or size(made) <= self.left:
                self.left, self.empty = self.left - size(made), False
                return made
        self.refused += 1
        return None

    def keep(self, things: Iterable[Callable[[], T]], size: Callable[[T], int]) -> list[T]:
        """Those that find room, in order."""
        return [made for make in things if (made := self.take(make, size)) is not None]


def pictures(
    folders: Sequence[dict[str, list[tuple[T, Path]]]],
) -> list[dict[str, list[tuple[T, Path]]]]:
    """Which pictures are shown, of those of each comparison by their labels.

    A label's pictures, one an arm, are shown together or not at all. All comparisons' first labels
    come before their second ones.
    """
    room = PICTURES
    shown: list[dict[str, list[tuple[T, Path]]]] = [{} for _ in folders]
    for rank in range(max(map(len, folders), default=0)):
        for place, by_label in enumerate(folders):
            for label, found in list(by_label.items())[rank : rank + 1]:
                size = sum(path.stat().st_size for _, path in found) * 4 // 3
                if size <= room:
                    room -= size
                    shown[place][label] = found
    return shown
