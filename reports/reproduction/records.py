"""Our measurements for the cells of a published table, from run folders or from CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.record import write_csv
from reports.reproduction.table import Key, Table, Where
from reports.tables.runs import ReportError, read

Record = dict[str, Any]
"""A measurement with the configuration of its run, by column."""


@dataclass(frozen=True)
class Value:
    """Our value of a cell in one seed: a row of the CSV that a study keeps.

    Attributes:
        task: of the cell.
        arm: of the cell.
        metric: of the cell, as the published table names it.
        seed: of the run.
        value: in the units of the published table.
        run: name of the run, or of the file that the value is from.

    """

    task: str
    arm: str
    metric: str
    seed: int
    value: float
    run: str

    @property
    def key(self) -> Key:
        """The cell."""
        return Key(self.task, self.arm, self.metric)


def gather(table: Table, records: Iterable[Record]) -> list[Value]:
    """The values of all cells, in the order of the table and by seed.

    Raises:
        ReportError: two measurements of one seed fit a cell.

    """
    # A run has hundreds of measurements, and a cell is of one metric.
    by_metric: dict[str, list[Record]] = {}
    for record in records:
        complete = {**table.absent, **record}
        by_metric.setdefault(complete.get("metric", ""), []).append(complete)
    values: list[Value] = []
    for key in table.cells:
        where = table.selection(key)
        found: dict[int, Value] = {}
        for record in by_metric.get(where.get("metric", ""), ()):
            raw = _raw(record)
            # Benchmarks keep rows of what they left out.
            if raw is None or not _fits(record, where):
                continue
            run = str(record.get("run_id") or record.get("contender") or "")
            ours = float(raw) ** table.power(key)
            value = Value(*key, seed=record["seed"], value=ours, run=run)
            other = found.setdefault(value.seed, value)
            # Which of them the publication means, only a narrower selection can say.
            if other.value != value.value:
                raise ReportError(
                    f"{', '.join(key)}: {other.run} and {value.run} both have seed {value.seed};"
                    " give the runs of one of them"
                )
        values += [found[seed] for seed in sorted(found)]
    return values


def merged(table: Table, kept: Iterable[Value], new: Iterable[Value]) -> list[Value]:
    """Values kept from earlier calls, replaced by new ones of the same cell and seed."""
    # The new ones come last, so they replace those of the same place.
    by_place = {(value.key, value.seed): value for value in (*kept, *new)}
    order = list(table.cells)
    # A cell that the table no longer has is dropped: nothing could be said about it.
    known = [value for value in by_place.values() if value.key in table.cells]
    return sorted(known, key=lambda value: (order.index(value.key), value.seed))


def records_of(path: Path) -> list[Record]:
    """The measurements of a folder of run folders, or the rows of a CSV of this repository.

    Raises:
        ReportError: nothing can be read there.

    """
    # Run folders may be gone; a published results.csv or solve.csv says the same.
    if path.suffix == ".csv":
        return list(_rows(path))
    runs, _ = read(path)
    records: list[Record] = []
    for run in runs:
        for measurement in run.measurements:
            records.append({**run.config, **asdict(measurement), "run_id": run.run_id})
    return records


def read_values(path: Path) -> list[Value]:
    """The values that an earlier call kept; none if there is no such file."""
    if not path.exists():
        return []
    values = []
    for row in _rows(path):
        # A value such as 2.0 may have been written without its point.
        row["value"] = float(row["value"])
        values.append(Value(**row))
    return values


def write_values(path: Path, values: list[Value]) -> None:
    """Write the values of all seeds, one per row."""
    write_csv(path, Value, values)


def _rows(path: Path) -> Iterator[Record]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                yield {name: _parsed(text) for name, text in row.items()}
    except (OSError, ValueError) as error:
        raise ReportError(f"{path} cannot be read: {error}") from None


def _parsed(text: str) -> object:
    """A cell of a CSV as the number that it is; None if it is empty."""
    if not text:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _fits(record: Record, where: Where) -> bool:
    return all(record.get(name) == value for name, value in where.items())


def _raw(record: Record) -> float | None:
    """The value of a measurement, or the cost that the solver benchmark has in its place."""
    return record["value"] if "value" in record else record.get("cost")
