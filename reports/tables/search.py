"""The search over noise laws: pilots of few images, ``noise-search.csv`` in the folder of runs."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reports.tables.arms import baseline_first
from reports.tables.statistics import Cell

FILE = "noise-search.csv"
_NEEDED = {"objective", "coupling", "law", "seed", "images", "grid_fd", "chosen"}


@dataclass(frozen=True)
class Tried:
    """One law of a coupling and objective.

    Attributes:
        objective: without its law.
        coupling: of the pilots.
        law: in words.
        numbers: location and scale; None for a law without them.
        images: that each pilot was trained on.
        distance: seed to grid distance, the mean over NFE at each one's best schedule; nan for a
            pilot that failed.
        chosen: True for the best law.

    """

    objective: str
    coupling: str
    law: str
    numbers: tuple[float, float] | None
    images: int
    distance: Cell
    chosen: bool


def tried(folder: Path, task: Mapping[str, str]) -> list[Tried]:
    """The laws that were tried on a task; none if there is no file that can be read.

    Args:
        folder: of the runs.
        task: values of columns that say which task the pilots had, such as data and pool.

    """
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    # By all that the pilots of one law share, which leaves the seed.
    seeds: dict[tuple, dict[int, float]] = {}
    for row in csv.DictReader(text.splitlines()):
        # A file of several tasks says which rows are whose; one without a column has one only.
        own = all(row.get(name, value) == value for name, value in task.items())
        if own and row.keys() >= _NEEDED:
            place = _place(row)
            seeds.setdefault(place, {})[int(row["seed"])] = _number(row["grid_fd"])
    found = [_tried(place, values) for place, values in seeds.items()]
    return sorted(found, key=lambda one: (one.objective, *baseline_first(one.coupling)))


def _place(row: dict[str, str]) -> tuple:
    numbers = (_number(row.get("P_mean", "")), _number(row.get("P_std", "")))
    # Uniform t has neither a location nor a scale.
    law = None if any(map(math.isnan, numbers)) else numbers
    chosen = row["chosen"].lower() in ("true", "1", "yes")
    return row["objective"], row["coupling"], row["law"], law, int(row["images"]), chosen


def _tried(place: tuple, values: dict[int, float]) -> Tried:
    objective, coupling, law, numbers, images, chosen = place
    return Tried(objective, coupling, law, numbers, images, Cell(values, {}), chosen)


def _number(text: str) -> float:
    return float(text) if text else math.nan
