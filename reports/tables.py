"""The tidy results: one row per measurement. What is compared with what is decided here, and only from the table."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.record import Measurement, write_bytes
from reports.rho import BEST, best_rho, by_schedule, fixed_rho, is_grid, rho_label
from reports.runs import OF_TRAINING, Run, read
from reports.special import is_adaptive, ordinary
from reports.statistics import BASELINE, Cell, cells, cost_cuts, ordered
from reports.words import metric_rank, setting, to_judge

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "run_id": "string", "data": "string", "coupling": "string", "pool": "Int64", "seed": "Int64",
    "metric": "string", "value": "float64", "nfe": "Int64", "rho": "float64", "sampler": "string",
    "start": "string", "guidance": "string", "split": "string", "n": "Int64", "sigma": "float64",
}  # fmt: skip
"""The columns that every table has, with their types; the config fields that vary come after them."""

PER_ARM = (
    "curvature_fm", "path_excess_fm", "path_excess_sigma", "turning_angle_fm", "turning_angle_sigma",
    "transport_cost", "transport_cost_independent", "coupling_ms", "coupling_share", "coupling_wait_share",
    "coupling_fit_seconds", "images_per_s", "train_seconds", "evaluate_seconds", "classifier_accuracy",
    "target_variance_from_noise", "validation_loss_edm_own", "validation_loss_edm_independent", "gradient_variance",
    "gradient_signal", "gradient_noise_scale",
)  # fmt: skip
"""Metrics with one value per run, not one per NFE."""

BUDGET = "training.images"
MIXED = "mixed"
"""Column that names what a row has not in common with what it is compared with; only there where that was asked for."""

_SETTINGS = ("rho", "sampler", "start", "guidance", "n")
_PLAIN = {"sampler": "heun", "start": "gaussian", "guidance": "none"}
_OWN_CONFIG = ("data", "coupling", "seed", "training.pool")


@dataclass(frozen=True)
class Group:
    """Runs that differ in coupling and seed only, so that they may be compared.

    ``sizes``: Frechet distance to the number of features behind it, where that is known.
    """

    title: str
    rows: pd.DataFrame
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """Columns that make groups: data, pool and the configuration."""
        return _group_keys(self.rows)

    @property
    def but_pool(self) -> dict[str, object]:
        """What the runs have in common beside the pool, by column."""
        return {key: str(self.rows[key].iloc[0]) for key in self.keys if key != "pool"}

    @property
    def trained(self) -> bool:
        """Whether its arms were trained here, with couplings; else they are networks that were read from files."""
        return not _missing(self.rows["pool"].iloc[0])

    @property
    def arms(self) -> list[str]:
        """Couplings, random first."""
        return ordered(self.rows.coupling)

    @property
    def seeds(self) -> dict[str, list[int]]:
        """Seeds of each arm."""
        return {arm: sorted({int(s) for s in self.rows.seed[self.rows.coupling == arm]}) for arm in self.arms}

    @cached_property
    def plain(self) -> Group:
        """Without guidance and other starts."""
        return replace(self, rows=ordinary(self.rows))

    @cached_property
    def panels(self) -> list[Panel]:
        """As ``panels`` finds them, once."""
        return panels(self)


@dataclass(frozen=True)
class Panel:
    """One metric of one group under one setting: what one figure and one table show.

    Attributes:
        metric: its name.
        split: ``train``, ``test`` or None.
        schedule: ``rho 7`` or ``best rho``; empty where the group has one rho only.
        settings: what else tells it from its neighbours, in words.
        rows: its part of the tidy table.
        over: the column that it is a curve over, ``nfe`` or ``sigma``; None for one value an arm.
        judged: whether the summary speaks of it.
        note: what makes its values doubtful, in a few words; empty where nothing does.

    """

    metric: str
    split: str | None
    schedule: str
    settings: str
    rows: pd.DataFrame
    over: str | None
    judged: bool = False
    note: str = ""

    @property
    def per_nfe(self) -> bool:
        """Whether the metric is a curve over NFE."""
        return self.over == "nfe"

    @property
    def title(self) -> str:
        """Metric, split, and the settings that tell it from its neighbours."""
        return ", ".join(part for part in (self.metric, self.split, self.settings, self.schedule) if part)

    @property
    def plain(self) -> bool:
        """Whether it is of the sampler that all are compared with, from plain noise and without guidance."""
        first = self.rows.iloc[0]
        return all(str(first[key]) == value for key, value in _PLAIN.items() if not _missing(first[key]))

    @cached_property
    def cells(self) -> dict[int | float | None, dict[str, Cell]]:
        """NFE or sigma to coupling to Cell; one entry, None, for a metric with one value an arm."""
        return cells(self.rows, self.over)


def read_runs(runs_dir: Path, run_ids: list[str] | None = None) -> pd.DataFrame:
    """The tidy results of the finished runs in a folder, or of those named.

    Raises:
        ReportError: as ``reports.runs.read``.

    """
    return results(read(runs_dir, run_ids)[0])


def results(runs: Sequence[Run]) -> pd.DataFrame:
    """All measurements as a tidy frame ``[measurements, columns]`` in a stable order.

    After the fixed columns come the config fields that vary between the runs, under their dotted names.
    """
    import pandas as pd

    varying = varying_fields([run.config for run in runs], own=(*_OWN_CONFIG, "checkpoint"))
    own = {"run_id": lambda run: run.run_id, "pool": partial(_config_value, "training.pool")}
    own |= {key: partial(_config_value, key) for key in ("data", "coupling", "seed", *varying)}
    columns = {
        name: [value for run in runs for value in [of_run(run)] * len(run.measurements)] for name, of_run in own.items()
    }
    columns |= {
        field.name: [getattr(measurement, field.name) for run in runs for measurement in run.measurements]
        for field in fields(Measurement)
    }
    order = ["data", "pool", *varying, "coupling", "seed", "metric", "split", *_SETTINGS, "nfe", "sigma", "run_id"]
    table = _typed(pd.DataFrame(columns, columns=[*COLUMNS, *varying]))
    place = np.lexsort([_ranks(name, columns[name]) for name in reversed(order)])
    return table.iloc[place].reset_index(drop=True)


def _config_value(key: str, run: Run) -> object:
    return run.config.get(key)


def _ranks(name: str, values: list) -> np.ndarray:
    """Each value's place among those of its column: sorting 500 runs by keys in Python would take a minute."""
    rank = {value: i for i, value in enumerate(sorted(set(values), key=lambda value: _sort_key(name, value)))}
    return np.array([rank[value] for value in values], dtype=np.int64)


def varying_fields(configs: Sequence[dict[str, object]], own: Collection[str] = _OWN_CONFIG) -> list[str]:
    """Dotted names of the config fields, other than the fixed columns, that are not the same in all runs.

    A network that was read from a file has no training, so what it lacks of one is no difference.
    """
    names = {name for config in configs for name in config} - set(own)
    return sorted(name for name in names if len({repr(c.get(name)) for c in configs if _has(c, name)}) > 1)


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


def groups(table: pd.DataFrame, sizes: Mapping[str, Mapping[str, int]] | None = None) -> list[Group]:
    """The table cut into sets of runs that are equal in all but coupling and seed, and where mixed in budget.

    ``sizes``: run to Frechet distance to the number of features behind it, as ``reports.runs.feature_sizes`` finds.
    """
    keys, found = _group_keys(table), []
    shown_of = {}  # of each data set, the fields that its groups differ in
    for data, rows in table.groupby("data", sort=False):
        trained = rows[rows["pool"].notna()]
        shown_of[data] = [
            name for name in keys[2:]
            if (trained if name.startswith(OF_TRAINING) else rows)[name].nunique(dropna=False) > 1
        ]  # fmt: skip
    by = [_unless_mixed(table) if name == BUDGET else table[name] for name in keys]
    for _, part in table.groupby(by, sort=False, dropna=False) if len(table) else ():
        data = part["data"].iloc[0]
        shown = [name for name in shown_of[data] if part[name].notna().any() or not name.startswith(OF_TRAINING)]
        pool = [] if _missing(part["pool"].iloc[0]) else [f"pool {part['pool'].iloc[0]}"]
        more = [*pool, *(_values(name, part[name].unique()) for name in shown)]
        known = {k: size for run_id in part["run_id"].unique() for k, size in (sizes or {}).get(run_id, {}).items()}
        found.append(Group(", ".join([data, *more]), part, known))
    return found


def _group_keys(table: pd.DataFrame) -> list[str]:
    return ["data", "pool", *(name for name in table.columns if name not in COLUMNS and name != MIXED)]


def _unless_mixed(table: pd.DataFrame) -> pd.Series:
    """The budget, empty where unequal ones are to be compared."""
    if MIXED not in table:
        return table[BUDGET]
    return table[BUDGET].mask(table[MIXED].str.contains(BUDGET, regex=False).fillna(False).astype(bool))


def counts_images(rows: pd.DataFrame) -> pd.Series:
    """Where ``n`` counts the images that a row was measured on; elsewhere it counts what a run was trained on."""
    return rows["nfe"].notna() | rows["sigma"].notna() | ~rows["metric"].isin(PER_ARM)


def panels(group: Group) -> list[Panel]:
    """The group's metrics, each under each setting, in the order of the report.

    Not among them: profiles over sigma (``profiles``), the first pass over rho (``reports.rho``) and the adaptive
    sampler (``reports.adaptive``).
    """
    rows = group.rows
    rows = rows[rows["sigma"].isna() & ~is_grid(rows) & ~is_adaptive(rows)]
    curves = rows[rows["nfe"].notna() & ~rows["metric"].isin(PER_ARM)]
    best, fixed = best_rho(group.rows), fixed_rho(curves)
    found = []
    for metric, part in curves.groupby("metric", sort=False):
        found += _panels(str(metric), by_schedule(part, best, fixed), ("sampler", "start", "guidance", "n"), "nfe")
    for metric, part in rows.drop(curves.index).groupby("metric", sort=False):
        # Another n is another estimate, but where it counts the pools or images that a run was trained on.
        more = ("n",) if counts_images(part).any() else ()
        found += _panels(str(metric), part, (*_SETTINGS[:-1], *(("nfe",) if metric in PER_ARM else ()), *more), None)
    several = {panel.schedule for panel in found if panel.per_nfe} - {""}
    if len(several) < 2:
        found = [replace(panel, schedule="") for panel in found]
    judged = to_judge({(panel.metric, panel.split) for panel in found if panel.per_nfe})
    found = [
        replace(panel, judged=panel.per_nfe and (panel.metric, panel.split) in judged, note=_singular(panel, group))
        for panel in found
    ]
    here = rho_label(fixed) if fixed is not None else ""
    order = {"": 0, here: 1, BEST: 2}
    return sorted(
        found,
        key=lambda p: (
            metric_rank(p.metric),
            p.split or "",
            not p.plain,
            _by_value(p.settings),
            order.get(p.schedule, 3),
        ),
    )


def _singular(panel: Panel, group: Group) -> str:
    """A note where a Frechet distance rests on no more images than features: the covariance has no full rank."""
    size, n = group.sizes.get(panel.metric), panel.rows["n"].min()
    if size is None or _missing(n) or n > size:
        return ""
    return f"singular covariance: {n:,} images in {size:,} features"


def profiles(group: Group) -> list[Panel]:
    """The group's metrics over sigma, each under each setting, in the order of the report."""
    rows, found = group.rows[group.rows["sigma"].notna()], []
    for metric, part in rows.groupby("metric", sort=False):
        found += _panels(str(metric), part, (*_SETTINGS, "nfe"), "sigma")
    return sorted(found, key=lambda panel: (metric_rank(panel.metric), panel.split or ""))


def side_by_side(found: Sequence[Panel]) -> list[list[Panel]]:
    """Panels that differ in rho only, together."""
    return [list(part) for _, part in groupby(found, key=lambda p: (p.metric, p.split, p.over, p.settings))]


def _panels(metric: str, rows: pd.DataFrame, keys: tuple[str, ...], over: str | None) -> list[Panel]:
    """Rows of one metric by split, keys and ``schedule``, if there."""
    found = []
    for part in _split(rows, ["split", *keys, *(["schedule"] if "schedule" in rows else [])]):
        first = part.iloc[0]
        split = None if _missing(first["split"]) else str(first["split"])
        same = rows[rows["split"].eq(split) if split else rows["split"].isna()]
        shown = [key for key in keys if same[key].nunique(dropna=False) > 1]
        # What all are compared with goes without saying; what departs from it is named.
        settings = [setting(key, first[key]) for key in shown if str(first[key]) != _PLAIN.get(key)]
        settings = ", ".join([*settings, *marks(part)])
        found.append(Panel(metric, split, str(first.get("schedule", "")), settings, part, over))
    return found


def marks(rows: pd.DataFrame) -> list[str]:
    """What is said of rows that are not comparable; empty for others."""
    found = rows[MIXED].dropna().unique() if MIXED in rows else ()
    return [f"NOT COMPARABLE: {' and '.join(found)} differ"] if len(found) else []


def _values(name: str, values: Sequence[object]) -> str:
    return " and ".join(setting(name, value) for value in values).replace(f" and {name} ", " and ")


def _by_value(settings: str) -> str:
    """A key under which n 500 comes before n 2000."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(9), settings)


def _missing(value: object) -> bool:
    import pandas as pd

    return value is None or bool(pd.isna(value))


def cost_cut(group: Group) -> dict[str, float]:
    """Share of the independent transport cost that each arm saves, mean over seeds."""
    return {arm: cell.mean for arm, cell in cost_cuts(group.rows).items()}


def _split(table: pd.DataFrame, keys: list[str]) -> list[pd.DataFrame]:
    """The rows by equal keys, in order of appearance; empty equals empty."""
    return [part for _, part in table.groupby(keys, sort=False, dropna=False)] if len(table) else []


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    extra = [name for name in table.columns if name not in COLUMNS]
    table = table.astype(COLUMNS)
    return table.assign(**{name: table[name].convert_dtypes() for name in extra})


def _sort_key(name: str, value: object) -> tuple:
    """Missing first, numbers as numbers, random before the other couplings."""
    if name == "coupling":
        return (value != BASELINE, str(value))
    return (value is not None, isinstance(value, str), str(value) if isinstance(value, str) else value or 0)
