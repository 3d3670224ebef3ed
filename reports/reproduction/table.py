"""A published table: its values, its statistics, and which of our measurements are its cells.

It is a TOML file and, next to it, a CSV of values:

    title = "..."                     # of the comparison
    source = "..."                    # paper, table, and where its settings are stated
    values = "sf2m.csv"               # columns task, arm, metric, mean, sd; empty: no such number
    command = "python -m bench.run"   # makes a cell, followed by those of its task and arm
    seeds = 5                         # behind each published mean
    population_sd = false             # true if its deviations divide by n, not by n - 1
    tolerance = 0.01                  # instead of seeds: the largest relative difference

    [absent]                          # fields that runs leave out at these values
    source = "gaussian"

    [where]                           # what all our measurements have
    n = 10000

    [tasks."N to moons"]              # what those of a task have; likewise [arms.*], [metrics.*]
    data = "sf2m-moons"
    command = "--data sf2m-moons"

    [metrics."W2^2"]
    metric = "w2"
    power = 2                         # of our values

    [[ratios]]                        # a statement about means that the table supports
    metric = "NPE"
    of = "I-CFM"
    to = "OT-CFM"
    at_least = 5

    [[differences]]                   # settings that are not those of the publication
    what = "batch"
    theirs = "..."
    ours = "..."
"""

from __future__ import annotations

import csv
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from reports.tables.runs import ReportError

Where = dict[str, Any]
"""Columns of a measurement, and the values that they must have."""


class Key(NamedTuple):
    """A cell of a table."""

    task: str
    arm: str
    metric: str


@dataclass(frozen=True)
class Published:
    """A published value; None where there is none."""

    mean: float | None = None
    sd: float | None = None


@dataclass(frozen=True)
class Ratio:
    """A statement: in every task the mean of one arm is at least so many times another's."""

    metric: str
    of: str
    to: str
    at_least: float


@dataclass(frozen=True)
class Difference:
    """A setting that is not that of the publication."""

    what: str
    theirs: str
    ours: str


@dataclass(frozen=True)
class Table:
    """A published table. ``cells`` are in the order of its file of values."""

    title: str
    source: str
    command: str
    cells: dict[Key, Published]
    where: Where
    absent: Where
    tasks: dict[str, Where]
    arms: dict[str, Where]
    metrics: dict[str, Where]
    seeds: int | None = None
    tolerance: float | None = None
    ratios: tuple[Ratio, ...] = ()
    differences: tuple[Difference, ...] = field(default=())

    def selection(self, key: Key) -> Where:
        """The columns that a measurement of a cell must have."""
        parts = (self.tasks[key.task], self.arms[key.arm], self.metrics[key.metric])
        # The narrower statement wins where a task, an arm and all cells speak of one column.
        chosen = dict(self.where)
        for part in parts:
            chosen |= part
        # These say how to make and to read a value; they are no columns.
        return {name: chosen[name] for name in chosen if name not in ("command", "power")}

    def power(self, key: Key) -> float:
        """The power that our values of a cell are raised to."""
        return self.metrics[key.metric].get("power", 1)

    def command_of(self, key: Key) -> str:
        """The command that measures a cell."""
        parts = (self.tasks[key.task], self.arms[key.arm])
        own = [part.get("command", "") for part in parts]
        return " ".join([self.command, *filter(None, own)])


def load(path: Path) -> Table:
    """Read a published table.

    Raises:
        ReportError: the file or its values are missing, or do not fit each other.

    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        with (path.parent / content.pop("values")).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        # Over n instead of n - 1, a deviation of few seeds would be too small for the test.
        over_n = content.pop("population_sd", False)
        seeds = content.get("seeds")
        scale = (seeds / (seeds - 1)) ** 0.5 if over_n else 1.0
        content["cells"] = {_key(row): _published(row, scale) for row in rows}
        content["ratios"] = tuple(Ratio(**one) for one in content.get("ratios", ()))
        content["differences"] = tuple(Difference(**one) for one in content.get("differences", ()))
        table = Table(**{"where": {}, "absent": {}, **content})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{path} is no published table: {error}") from None
    # A misspelt name would be a cell that no run can fill.
    for key in table.cells:
        for name, known in zip(key, (table.tasks, table.arms, table.metrics), strict=True):
            if name not in known:
                raise ReportError(f"{path}: its values name {name!r}, which it does not describe")
    return table


def _key(row: dict[str, str]) -> Key:
    return Key(row["task"], row["arm"], row["metric"])


def _published(row: dict[str, str], scale: float) -> Published:
    mean = float(row["mean"]) if row["mean"] else None
    sd = scale * float(row["sd"]) if row["sd"] else None
    return Published(mean, sd)
