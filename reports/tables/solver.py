"""The table of the solver benchmark, ``solve.csv``, as typed rows."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from reports.tables.arms import ordered
from reports.tables.runs import ReportError

OPTIMAL = 0.999  # the gain from which a pairing counts as optimal
KINDS = ("coupling", "peer", "floor")  # in the order of the tables


@dataclass(frozen=True)
class Row:
    """One row of solve.csv, as ``bench.solve`` describes it; an empty number is None."""

    contender: str
    kind: str
    data: str
    n: int
    d: int | None
    rounds: int
    median_ms: float | None
    p95_ms: float | None
    matrix_ms: float | None
    solve_ms: float | None
    peak_mb: float | None
    cost_ratio: float | None
    gain: float | None
    repeated: float | None
    converged: bool | None
    note: str

    @property
    def is_optimal(self) -> bool:
        """True if the pairing reaches the optimum without using a noise sample twice."""
        reached = self.gain is not None and self.gain >= OPTIMAL
        return bool(self.converged) and reached and not self.repeated


@dataclass(frozen=True)
class Size:
    """All rows of one pool size."""

    n: int
    rows: list[Row]

    def of_kind(self, kind: str) -> list[Row]:
        """The timed rows of one kind of contender."""
        return [row for row in self.rows if row.kind == kind and row.median_ms]


def read(path: Path) -> list[Row]:
    """The rows of a table of ``bench.solve``.

    Raises:
        ReportError: it is missing, or is no such table.

    """
    try:
        # newline="" leaves line ends within quoted notes to the csv module.
        with path.open(encoding="utf-8", newline="") as file:
            return [_row(line) for line in csv.DictReader(file)]
    except OSError as error:
        raise ReportError(
            f"cannot read {path} ({error.strerror}): make it with python -m bench.solve"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise ReportError(
            f"{path} is not a table of python -m bench.solve ({error}): make it again"
        ) from None


def _row(line: dict[str, str]) -> Row:
    values = {name: _value(line[name], kind) for name, kind in get_type_hints(Row).items()}
    return Row(**values)


def _value(text: str, kind: object) -> Any:
    """A field of the table as its type; empty is None if the type allows it."""
    if kind is str:
        return text
    # bool("False") is True, so booleans are read by their names.
    if kind == bool | None:
        return {"True": True, "False": False, "": None}[text]
    if text == "" and kind is not int:
        return None
    return int(text) if kind in (int, int | None) else float(text)


def in_order(rows: Sequence[Row]) -> list[Row]:
    """The order of tables and figures: couplings with random first, then peers, then the floor,
    each with rising sizes.
    """
    rank = ordered(row.contender for row in rows)
    return sorted(rows, key=lambda row: (KINDS.index(row.kind), rank.index(row.contender), row.n))


def by_size(rows: Sequence[Row]) -> list[Size]:
    """The rows of each pool size, the sizes rising."""
    sizes = {n: Size(n, []) for n in sizes_of(rows)}
    for row in rows:
        sizes[row.n].rows.append(row)
    return list(sizes.values())


def sizes_of(rows: Iterable[Row]) -> list[int]:
    """The pool sizes of the rows, rising."""
    return sorted({row.n for row in rows})
