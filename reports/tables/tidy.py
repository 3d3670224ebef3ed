"""The tidy results: one row per measurement."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.record import Measurement, write_bytes
from bench.record.best_schedule import as_of_today
from reports.tables.arms import EDM, EDM_SIGMA_DATA, OBJECTIVE, SIGMA_DATA, baseline_first
from reports.tables.runs import OF_TRAINING, Run, read

if TYPE_CHECKING:
    import pandas as pd

# The columns of every table, with their types; the config fields that vary come after them.
COLUMNS = {
    "run_id": "string",
    "data": "string",
    "coupling": "string",
    "pool": "Int64",
    "seed": "Int64",
    "metric": "string",
    "value": "float64",
    "nfe": "Int64",
    "rho": "float64",
    "schedule": "string",
    "sampler": "string",
    "start": "string",
    "guidance": "string",
    "split": "string",
    "n": "Int64",
    "sigma": "float64",
}
# Fields of the configuration that have columns under these or shorter names.
_OWN_CONFIG = ("data", "coupling", "seed", "training.pool")
# Fields that configurations leave out at these values, so that runs of before keep their names
_LEFT_OUT = {OBJECTIVE: EDM, SIGMA_DATA: EDM_SIGMA_DATA, "source": "gaussian"}
_ORDER_FIRST = ("data", "pool")
_ORDER_LAST = (
    "coupling", "seed", "metric", "split",
    "rho", "schedule", "sampler", "start", "guidance", "n", "nfe", "sigma", "run_id",
)  # fmt: skip


def read_runs(runs_dir: Path, run_ids: list[str] | None = None) -> pd.DataFrame:
    """The tidy results of the finished runs in a folder, or of those named.

    Raises:
        ReportError: as ``reports.tables.runs.read``.

    """
    return results(read(runs_dir, run_ids)[0])


def results(runs: Sequence[Run]) -> pd.DataFrame:
    """All measurements as a tidy frame ``[measurements, columns]`` in a stable order.

    After the fixed columns come the config fields that vary between the runs, under their dotted
    names.
    """
    import pandas as pd

    # A network from a file has its hash in its name already.
    varying = varying_fields([run.config for run in runs], own=(*_OWN_CONFIG, "checkpoint"))
    # A source of its own makes another task, which the reader must be told even if all runs share
    # it.
    if "source" not in varying and any("source" in run.config for run in runs):
        varying = sorted([*varying, "source"])
    names = [*COLUMNS, *varying]
    rows = []
    for run in runs:
        own = _of_run(run, varying)
        rows += [own | vars(as_of_today(measurement)) for measurement in run.measurements]
    order = [*_ORDER_FIRST, *varying, *_ORDER_LAST]
    columns = dict.fromkeys(names)
    for name in names:
        columns[name] = [row[name] for row in rows]
    table = _typed(pd.DataFrame(columns, columns=names))
    # lexsort takes the last key as the first one.
    place = np.lexsort([_ranks(name, columns[name]) for name in reversed(order)])
    return table.iloc[place].reset_index(drop=True)


def _of_run(run: Run, varying: Sequence[str]) -> dict[str, object]:
    """The values that all rows of a run share."""
    config = {name: _field(run, name) for name in ("data", "coupling", "seed", *varying)}
    return config | {"run_id": run.run_id, "pool": run.config.get("training.pool")}


def _field(run: Run, name: str) -> object:
    """A field of the configuration; the training of a network from a file is not known."""
    unknown = run.network is not None and name.startswith(OF_TRAINING)
    return run.config.get(name, None if unknown else _LEFT_OUT.get(name))


def _ranks(name: str, values: list) -> np.ndarray:
    """Each value's place among those of its column.

    Ranks of the few different values are sorted by numpy; sorting all rows of 500 runs by keys in
    Python would take a minute.
    """
    different = sorted(set(values), key=lambda value: _sort_key(name, value))
    rank = {value: place for place, value in enumerate(different)}
    return np.array([rank[value] for value in values], dtype=np.int64)


def varying_fields(
    configs: Sequence[dict[str, object]], own: Collection[str] = _OWN_CONFIG
) -> list[str]:
    """Dotted names of the fields that are not the same in all runs, without those in ``own``.

    A network that was read from a file has no training, so lacking a field of it is no difference.
    """
    names = set().union(*configs) - set(own)
    return sorted(name for name in names if len(_different(configs, name)) > 1)


def _different(configs: Iterable[dict[str, object]], name: str) -> set[str]:
    """The different values of a field, as text, because lists cannot be members of a set."""
    # repr and not str, which would make the number 7 and the text "7" equal.
    return {repr(config.get(name)) for config in configs if _has(config, name)}


def _has(config: dict[str, object], name: str) -> bool:
    return name in config or not (config.get("checkpoint") and name.startswith(OF_TRAINING))


def csv_bytes(table: pd.DataFrame) -> bytes:
    """The table as CSV; floats keep all their digits."""
    # With \n on all systems, or equal runs would give other bytes on Windows.
    return table.to_csv(index=False, lineterminator="\n").encode()


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write the table atomically."""
    write_bytes(path, csv_bytes(table))


def read_csv(path: Path) -> pd.DataFrame:
    """The table as it was written."""
    import pandas as pd

    # Floats are read as text first, because not every version of pandas reads their last digit.
    kinds = {name: "string" if kind == "float64" else kind for name, kind in COLUMNS.items()}
    # pandas takes words such as NA, null and None for gaps, and a coupling may have such a name.
    table = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])
    return _typed(_as_of_today(table))


def _as_of_today(table: pd.DataFrame) -> pd.DataFrame:
    """A table of any version in the form of today; see ``bench.record.best_schedule``."""
    import pandas as pd

    if "schedule" in table:
        return table
    earlier = table[["metric", "value", "rho"]].astype({"value": float, "rho": float})
    rows = []
    for metric, value, rho in earlier.itertuples(index=False):
        row = as_of_today(Measurement(metric, value, rho=None if pd.isna(rho) else rho))
        rows.append((row.metric, row.rho, row.schedule))
    metric, rho, schedule = zip(*rows, strict=True) if rows else ((), (), ())
    return table.assign(metric=metric, rho=rho, schedule=schedule)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    # Nullable integers: an NFE that does not apply is empty, not 5.0 and nan.
    table = table.astype(COLUMNS)
    # Their types are not known here. Without a conversion, a gap turns whole numbers into floats.
    extra = [name for name in table.columns if name not in COLUMNS]
    return table.assign(**{name: table[name].convert_dtypes() for name in extra})


def _sort_key(name: str, value: object) -> tuple:
    """Missing first, numbers as numbers, random before the other couplings."""
    if name == "coupling":
        return baseline_first(str(value))
    # Text after numbers, and None before: Python refuses to compare values of different types.
    if isinstance(value, str):
        return (True, True, value)
    return (value is not None, False, value or 0)
