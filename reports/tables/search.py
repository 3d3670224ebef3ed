"""The search over noise laws: pilots of few images, ``noise-search.csv`` in folders of runs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.record.bundle import SEARCH as FILE
from reports.tables.arms import baseline_first
from reports.tables.statistics import Cell

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


def tried(folders: Iterable[Path], task: Mapping[str, str]) -> list[Tried]:
    """The laws that were tried on a task; none if there is no file that can be read.

    Args:
        folders: of the runs.
        task: values of columns that say which task the pilots had, such as data and pool.

    """
    # By all that the pilots of one law share, which leaves the seed.
    seeds: dict[tuple, dict[int, float]] = {}
    for row in pilots(folders):
        # A file of several tasks says which rows are whose; one without a column has one only.
        own = all(row.get(name, value) == value for name, value in task.items())
        if own and row.keys() >= _NEEDED:
            place = _place(row)
            seeds.setdefault(place, {})[int(row["seed"])] = _number(row["grid_fd"])
    found = [_tried(place, values) for place, values in seeds.items()]
    return sorted(found, key=lambda one: (one.objective, *baseline_first(one.coupling)))


def pilots(folders: Iterable[Path]) -> list[dict[str, str]]:
    """The rows of the files in some folders of runs, each once."""
    rows: list[dict[str, str]] = []
    for folder in dict.fromkeys(folders):
        try:
            text = (folder / FILE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        # Two machines may have copied the folder of the pilots.
        rows += [row for row in csv.DictReader(text.splitlines()) if row not in rows]
    return rows


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """The rows as the content of such a file."""
    columns: dict[str, None] = {}
    for row in rows:
        columns |= dict.fromkeys(row)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


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
