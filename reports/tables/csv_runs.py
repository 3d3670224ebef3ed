"""Runs from a results.csv: their measurements, and what its columns say of their configuration.

A results.csv has no pictures, no descriptions of a user's own metrics, and of the provenance only
what comparisons depend on. Those of earlier versions have no configuration but for the fields in
which their runs differ; the name of a run then proves one, because it ends with its hash.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.record import Measurement, digest
from reports.tables.panels import MIXED
from reports.tables.runs import ReportError, Run, flatten, hash_in_name
from reports.tables.tidy import COLUMNS, HASHES, LEFT_OUT, is_origin, read_csv
from reports.text import is_missing, one_line

if TYPE_CHECKING:
    import pandas as pd

SUFFIX = ".csv"
_FIELDS = tuple(field.name for field in fields(Measurement))
_LATER = ("schedule",)  # columns that tables of earlier versions lack
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?(e[-+]?\d+)?", re.IGNORECASE)
# Every configuration of a training has it, so a table with a configuration has it too.
_IN_ALL = "evaluation.sigma_max"


def runs_of_csv(path: Path) -> list[Run]:
    """The runs of a results.csv, in its order.

    Raises:
        ReportError: it cannot be read, is no results.csv, or holds rows that are marked as not
            comparable.

    """
    try:
        return list(_runs(path, _table(path)))
    except (ValueError, TypeError) as error:
        if isinstance(error, ReportError):
            raise
        raise ReportError(f"{path} is damaged ({one_line(str(error))}): copy it again") from None


def _runs(path: Path, table: pd.DataFrame) -> Iterator[Run]:
    if MIXED in table and table[MIXED].notna().any():
        raise ReportError(
            f"{path} holds rows that are marked as not comparable: give the run folders that it"
            " was made from"
        )
    configured = _IN_ALL in table
    recorded = [name for name in table.columns if name not in COLUMNS and name != MIXED]
    for run_id, rows in table.groupby("run_id", sort=False):
        values = rows.iloc[0]
        own = {name: _value(values[name], name) for name in recorded}
        origin = {name: own.pop(name) for name in recorded if is_origin(name)}
        yield Run(
            # Pictures are found if the run folders stand next to the table.
            path.parent / str(run_id),
            _config(values, own),
            {name: value for name, value in origin.items() if value is not None},
            {"state": "done"},
            tuple(_measurements(rows)),
            study=str(path),
            from_csv=True,
            configured=configured,
        )


def _table(path: Path) -> pd.DataFrame:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            names = next(csv.reader(file), [])
        # solve.csv and wide tables are tables of ours too, and no results.
        missing = sorted(set(COLUMNS) - {*names, *_LATER})
        if missing:
            raise ReportError(f"{path} is no results.csv: it has no column {missing[0]!r}")
        return read_csv(path)
    except OSError as error:
        raise ReportError(f"{path} cannot be read ({error.strerror})") from None


def _config(values: pd.Series, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The flat configuration of one row, as config.json has it."""
    config = {name: value for name, value in recorded.items() if value != LEFT_OUT.get(name)}
    config |= {"seed": int(values["seed"]), "training.pool": _value(values["pool"], "pool")}
    # Names may look like numbers, and stay names.
    config |= {name: str(values[name]) for name in ("data", "coupling")}
    network = config.get("checkpoint")
    # Whether it shares its name is another question among other runs.
    config["coupling"] = config["coupling"].removesuffix(hash_in_name(network))
    return {name: value for name, value in config.items() if value is not None}


def _value(cell: object, name: str) -> Any:
    """A cell of a column as Python's own number, truth value or text; None if it is empty."""
    if is_missing(cell):
        return None
    if isinstance(cell, str):
        # Next to a word, such as sigma_data's "data", numbers are read as text.
        if name not in HASHES and _NUMBER.fullmatch(cell):
            return json.loads(cell) if cell.isdecimal() else float(cell)
        return cell
    return cell.item() if hasattr(cell, "item") else cell


def _measurements(rows: pd.DataFrame) -> Iterable[Measurement]:
    columns = [rows[name].astype(object).where(rows[name].notna(), None) for name in _FIELDS]
    for values in zip(*columns, strict=True):
        row = dict(zip(_FIELDS, values, strict=True))
        # An empty value is no gap: the number was not finite.
        value = float("nan") if row["value"] is None else row["value"]
        yield Measurement(**{**row, "value": value})


def with_configuration(run: Run, identities: Iterable[Mapping[str, Any]]) -> Run | None:
    """The run with its configuration, if one of others differs from it in what its row says only.

    The name of a run ends with the hash of its configuration (``RunConfig.run_id``), which proves
    it.

    Args:
        run: from a table without configurations.
        identities: configurations of other runs, as nested dictionaries.

    """
    own = {**run.config}
    for identity in identities:
        # Nested as config.json is: the hash is that of its text.
        nested = deepcopy(dict(identity))
        for name, value in own.items():
            _set(nested, name, value)
        if run.run_id.endswith(f"-{digest(nested, compact=True)}"):
            return replace(run, config=flatten(nested), configured=True)
    return None


def _set(nested: dict[str, Any], name: str, value: object) -> None:
    """Set a field by its dotted name."""
    *path, last = name.split(".")
    for part in path:
        nested = nested.setdefault(part, {})
    nested[last] = value
