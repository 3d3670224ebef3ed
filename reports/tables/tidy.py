"""The tidy results: one row per measurement. What is compared with what is decided here, and only
from the table.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.record import Measurement, write_bytes
from reports.tables.runs import OF_TRAINING, Run, read
from reports.tables.statistics import BASELINE

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "run_id": "string", "data": "string", "coupling": "string", "pool": "Int64", "seed": "Int64",
    "metric": "string", "value": "float64", "nfe": "Int64", "rho": "float64", "sampler": "string",
    "start": "string", "guidance": "string", "split": "string", "n": "Int64", "sigma": "float64",
}  # fmt: skip
"""The columns that every table has, with their types; the config fields that vary come after them.
"""

SETTINGS = ("rho", "sampler", "start", "guidance", "n")
PER_ARM = (
    "curvature_fm", "path_excess_fm", "path_excess_sigma", "turning_angle_fm", "turning_angle_sigma",
    "transport_cost", "transport_cost_independent", "coupling_ms", "coupling_share", "coupling_wait_share",
    "coupling_fit_seconds", "images_per_s", "train_seconds", "evaluate_seconds", "classifier_accuracy",
    "target_variance_from_noise", "validation_loss_edm_own", "validation_loss_edm_independent", "gradient_variance",
    "gradient_signal", "gradient_noise_scale",
)  # fmt: skip
"""Metrics with one value per run, not one per NFE."""


_OWN_CONFIG = ("data", "coupling", "seed", "training.pool")


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

    varying = varying_fields([run.config for run in runs], own=(*_OWN_CONFIG, "checkpoint"))
    own = {"run_id": lambda run: run.run_id, "pool": partial(_config_value, "training.pool")}
    own |= {key: partial(_config_value, key) for key in ("data", "coupling", "seed", *varying)}
    columns = {
        name: [value for run in runs for value in [of_run(run)] * len(run.measurements)]
        for name, of_run in own.items()
    }
    columns |= {
        field.name: [
            getattr(measurement, field.name) for run in runs for measurement in run.measurements
        ]
        for field in fields(Measurement)
    }
    order = [
        "data",
        "pool",
        *varying,
        "coupling",
        "seed",
        "metric",
        "split",
        *SETTINGS,
        "nfe",
        "sigma",
        "run_id",
    ]
    table = _typed(pd.DataFrame(columns, columns=[*COLUMNS, *varying]))
    place = np.lexsort([_ranks(name, columns[name]) for name in reversed(order)])
    return table.iloc[place].reset_index(drop=True)


def _config_value(key: str, run: Run) -> object:
    return run.config.get(key)


def _ranks(name: str, values: list) -> np.ndarray:
    """Each value's place among those of its column: sorting 500 runs by keys in Python would take a
    minute.
    """
    rank = {
        value: i
        for i, value in enumerate(sorted(set(values), key=lambda value: _sort_key(name, value)))
    }
    return np.array([rank[value] for value in values], dtype=np.int64)


def varying_fields(
    configs: Sequence[dict[str, object]], own: Collection[str] = _OWN_CONFIG
) -> list[str]:
    """Dotted names of the config fields, other than the fixed columns, that are not the same in all
    runs.

    A network that was read from a file has no training, so what it lacks of one is no difference.
    """
    names = {name for config in configs for name in config} - set(own)
    return sorted(
        name for name in names if len({repr(c.get(name)) for c in configs if _has(c, name)}) > 1
    )


def _has(config: dict[str, object], name: str) -> bool:
    return name in config or not (config.get("checkpoint") and name.startswith(OF_TRAINING))


def csv_bytes(table: pd.DataFrame) -> bytes:
    """The table as CSV; floats keep all their digits."""
    return table.to_csv(index=False, lineterminator="\n").encode()


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write the table atomically."""
    write_bytes(path, csv_bytes(table))


def read_csv(path: Path) -> pd.DataFrame:
    """The table as it was written."""
    import pandas as pd

    # Floats by way of text: not every version of pandas reads the last digit otherwise.
    kinds = {name: "string" if kind == "float64" else kind for name, kind in COLUMNS.items()}
    return _typed(pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""]))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    extra = [name for name in table.columns if name not in COLUMNS]
    table = table.astype(COLUMNS)
    return table.assign(**{name: table[name].convert_dtypes() for name in extra})


def _sort_key(name: str, value: object) -> tuple:
    """Missing first, numbers as numbers, random before the other couplings."""
    if name == "coupling":
        return (value != BASELINE, str(value))
    return (
        value is not None,
        isinstance(value, str),
        str(value) if isinstance(value, str) else value or 0,
    )
