"""Tables whose rows are settings and whose columns are metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.record.best_schedule import parameter
from reports.tables.arms import baseline_first
from reports.tables.metrics import Metrics
from reports.tables.schedules import by_parameter, has_schedule, is_search, noun_of
from reports.tables.statistics import Cell, values_by
from reports.text import schedule_label

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        coupling: its name.
        place: values of the settings; None if one does not apply.
        cells: one for each column; None if it was not measured.

    """

    coupling: str
    place: tuple
    cells: list[Cell | None]


@dataclass(frozen=True)
class Listing:
    """One table.

    Attributes:
        settings: their names.
        columns: metric and split; an empty split if a metric has none.
        rows: by their settings, random first.

    """

    settings: tuple[str, ...]
    columns: list[tuple[str, str]]
    rows: list[Row]


def everything(rows: pd.DataFrame, settings: tuple[str, ...], metrics: Metrics) -> Listing:
    """All rows over NFE as one table."""
    rows = rows[rows["nfe"].notna() & rows["sigma"].isna() & ~is_search(rows)]
    # An adaptive sampler alone would make an empty column.
    if "schedule" in settings and not has_schedule(rows).any():
        settings = tuple(name for name in settings if name != "schedule")
    found = listing(rows, settings, metrics)
    # A column of one family shows its parameter alone: "rho" above 7.
    heads = [noun_of(rows) if name == "schedule" else name for name in settings]
    return replace(found, settings=tuple(heads), rows=[_short(row, heads) for row in found.rows])


def _short(row: Row, heads: Sequence[str]) -> Row:
    # Numbers alone sort as numbers when a reader clicks on the column's head.
    place: list[object] = []
    for head, value in zip(heads, row.place, strict=True):
        if head in ("rho", "shift") and value is not None:
            place.append(parameter(value))
        else:
            place.append(schedule_label(value) if head == "schedule" and value else value)
    return replace(row, place=tuple(place))


def listing(rows: pd.DataFrame, settings: tuple[str, ...], metrics: Metrics) -> Listing:
    """Rows of several metrics and settings as one table."""
    rows = rows.assign(split=rows["split"].fillna(""))
    different = set(zip(rows["metric"], rows["split"], strict=True))
    columns = sorted(different, key=lambda column: (metrics.rank(column[0]), column[1]))
    by_row: dict[tuple, dict[tuple[str, str], Cell]] = {}
    for key, by_coupling in values_by(rows, *settings, "metric", "split").items():
        # A row is a setting; metric and split are its columns.
        *place, metric, split = key
        for coupling, seeds in by_coupling.items():
            cells = by_row.setdefault((coupling, tuple(place)), {})
            # No baseline: this table lists all that was measured and claims nothing.
            cells[metric, split] = Cell(seeds, {})
    found = []
    for coupling, place in sorted(by_row, key=lambda row: _order(settings, *row)):
        cells = by_row[coupling, place]
        found.append(Row(coupling, place, [cells.get(column) for column in columns]))
    return Listing(settings, columns, found)


def _order(settings: Sequence[str], coupling: str, place: Sequence) -> tuple:
    """Sort key: empty settings first, then by value, and random before the other couplings."""
    # Python cannot order None and a number, so the first of each pair decides between them.
    keys = []
    for name, value in zip(settings, place, strict=True):
        scheduled = name == "schedule" and value is not None
        keys.append((value is not None, by_parameter(value) if scheduled else value))
    return keys, baseline_first(coupling)
