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
from reports.text import STRINGS

if TYPE_CHECKING:
    import pandas as pd

# The columns of every table, with their types; the configuration comes after them.
COLUMNS = {
    "run_id": STRINGS,
    "data": STRINGS,
    "coupling": STRINGS,
    "pool": "Int64",
    "seed": "Int64",
    "metric": STRINGS,
    "value": "float64",
    "nfe": "Int64",
    "rho": "float64",
    "schedule": STRINGS,
    "sampler": STRINGS,
    "start": STRINGS,
    "guidance": STRINGS,
    "split": STRINGS,
    "n": "Int64",
    "sigma": "float64",
}
# The primary question that a run declares, ``METRIC@NFE``, as it stands in the provenance
PRIMARY = "primary"
# Fields of the configuration that have columns under these or shorter names.
_OWN_CONFIG = ("data", "coupling", "seed", "training.pool")
# Fields of the provenance that decide which runs may be compared: the last columns
ORIGIN = ("class_law", "data_checksum", "exact_noise_marginal", PRIMARY, "processes")
ORIGINS = ("features.", "feature_sizes.")  # starts of further ones
HASHES = ("checkpoint", "data_checksum")  # columns of text, also if all digits are decimal
# Fields that configurations leave out at these values, so that runs of before keep their names
LEFT_OUT = {OBJECTIVE: EDM, SIGMA_DATA: EDM_SIGMA_DATA, "source": "gaussian"}
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

    After the fixed columns come the config fields that vary between the runs, then the others, then
    the part of the provenance that comparisons depend on: a row can be understood without its
    folder. Fields have dotted names; those that no run has are left out.
    """
    import pandas as pd

    varying = _varying(runs)
    recorded = [*varying, *_recorded(runs, varying)]
    fixed = ["run_id", "data", "coupling", "pool", "seed"]
    # One row per run: written into each of thousands of rows, fifty columns take gigabytes.
    by_run: dict[str, list] = {name: [] for name in (*fixed, *recorded)}
    rows: list[Measurement] = []
    lengths = []
    for run in runs:
        for name, values in by_run.items():
            values.append(_field(run, name))
        rows += [as_of_today(measurement) for measurement in run.measurements]
        lengths.append(len(run.measurements))
    # Of which run each row is
    owner = np.repeat(np.arange(len(runs)), lengths)
    own = pd.DataFrame(by_run, columns=[*fixed, *recorded], dtype=object)
    ranks = {name: _ranks(name, values)[owner] for name, values in by_run.items()}
    columns: dict[str, object] = {}
    for name in COLUMNS:
        if name in by_run:
            columns[name] = own[name].to_numpy()[owner]
        else:
            values = [getattr(row, name) for row in rows]
            ranks[name] = _ranks(name, values)
            columns[name] = values
    # Typed while they are short, and only then repeated.
    extra = _without_types(own[recorded]).take(owner).reset_index(drop=True)
    table = pd.DataFrame(columns, columns=[*COLUMNS]).astype(COLUMNS).join(extra)
    # lexsort takes the last key as the first one.
    order = [*_ORDER_FIRST, *varying, *_ORDER_LAST]
    place = np.lexsort([ranks[name] for name in reversed(order)])
    return table.iloc[place].reset_index(drop=True)


def _varying(runs: Sequence[Run]) -> list[str]:
    """The config fields, without those of the fixed columns, that are not the same in all runs."""
    # A network from a file has its hash in its name already.
    varying = varying_fields([run.config for run in runs], own=(*_OWN_CONFIG, "checkpoint"))
    # A source of its own makes another task, which the reader must be told even if all runs share
    # it.
    if "source" not in varying and any("source" in run.config for run in runs):
        varying = sorted([*varying, "source"])
    return varying


def _recorded(runs: Sequence[Run], varying: Sequence[str]) -> list[str]:
    """The other fields that some run has a value of: of the configuration, of the provenance."""
    configuration: set[str] = set()
    origin: set[str] = set()
    for run in runs:
        names = {*run.config, *LEFT_OUT}
        configuration.update(name for name in names if _field(run, name) is not None)
        origin.update(name for name in run.provenance if is_origin(name))
    configuration -= {*_OWN_CONFIG, *varying}
    return [*sorted(configuration), *sorted(origin - configuration)]


def is_origin(name: str) -> bool:
    """True for a column that is of the provenance, not of the configuration."""
    return name in ORIGIN or name.startswith(ORIGINS)


def _field(run: Run, name: str) -> object:
    """A value that all rows of a run share: its name, or a field of its records.

    The training of a network from a file is not known.
    """
    if name == "run_id":
        return run.run_id
    if name == "pool":
        return run.config.get("training.pool")
    if is_origin(name):
        return run.provenance.get(name)
    unknown = not run.configured or (run.network is not None and name.startswith(OF_TRAINING))
    return run.config.get(name, None if unknown else LEFT_OUT.get(name))


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
    return {repr(plain(config.get(name))) for config in configs if _has(config, name)}


def plain(value: object) -> object:
    """The value, a whole number without its point: a CSV may have left that out."""
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if is_whole else value  # type: ignore[call-overload]


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
    kinds = {name: STRINGS if kind == "float64" else kind for name, kind in COLUMNS.items()}
    kinds |= dict.fromkeys(HASHES, STRINGS)
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
    extra = [name for name in table.columns if name not in COLUMNS]
    return table.assign(**_without_types(table[extra]))


def _without_types(table: pd.DataFrame) -> pd.DataFrame:
    """Columns whose types are not known, in types that may have gaps."""
    # Without a conversion, a gap turns whole numbers into floats.
    table = table.convert_dtypes()
    texts = table.select_dtypes(["string"]).columns
    return table.astype(dict.fromkeys(texts, STRINGS))


def _sort_key(name: str, value: object) -> tuple:
    """Missing first, numbers as numbers, random before the other couplings."""
    if name == "coupling":
        return baseline_first(str(value))
    # Text after numbers, and None before: Python refuses to compare values of different types.
    if isinstance(value, str):
        return (True, True, value)
    return (value is not None, False, value or 0)
