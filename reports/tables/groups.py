"""Comparisons: groups of runs with one panel a metric."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

from reports.tables.metrics import metric_rank, to_judge
from reports.tables.rho import BEST, best_rho, by_schedule, fixed_rho, is_grid, rho_label
from reports.tables.runs import OF_TRAINING
from reports.tables.select import is_adaptive, ordinary
from reports.tables.statistics import Cell, cells, cost_cuts, ordered
from reports.tables.tidy import COLUMNS, PER_ARM, SETTINGS
from reports.text import setting

if TYPE_CHECKING:
    import pandas as pd


BUDGET = "training.images"
MIXED = "mixed"
"""Column that names what a row has not in common with what it is compared with; only there where
that was asked for.
"""
_PLAIN = {"sampler": "heun", "start": "gaussian", "guidance": "none"}


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
        """Whether its arms were trained here, with couplings; else they are networks that were read
        from files.
        """
        return not _missing(self.rows["pool"].iloc[0])

    @property
    def arms(self) -> list[str]:
        """Couplings, random first."""
        return ordered(self.rows.coupling)

    @property
    def seeds(self) -> dict[str, list[int]]:
        """Seeds of each arm."""
        return {
            arm: sorted({int(s) for s in self.rows.seed[self.rows.coupling == arm]})
            for arm in self.arms
        }

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
        return ", ".join(
            part for part in (self.metric, self.split, self.settings, self.schedule) if part
        )

    @property
    def plain(self) -> bool:
        """Whether it is of the sampler that all are compared with, from plain noise and without
        guidance.
        """
        first = self.rows.iloc[0]
        return all(
            str(first[key]) == value for key, value in _PLAIN.items() if not _missing(first[key])
        )

    @cached_property
    def cells(self) -> dict[int | float | None, dict[str, Cell]]:
        """NFE or sigma to coupling to Cell; one entry, None, for a metric with one value an arm."""
        return cells(self.rows, self.over)


def groups(
    table: pd.DataFrame, sizes: Mapping[str, Mapping[str, int]] | None = None
) -> list[Group]:
    """The table cut into sets of runs that are equal in all but coupling and seed, and where mixed
    in budget.

    ``sizes``: run to Frechet distance to the number of features behind it, as
    ``reports.tables.runs.feature_sizes`` finds.
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
        shown = [
            name
            for name in shown_of[data]
            if part[name].notna().any() or not name.startswith(OF_TRAINING)
        ]
        pool = [] if _missing(part["pool"].iloc[0]) else [f"pool {part['pool'].iloc[0]}"]
        more = [*pool, *(_values(name, part[name].unique()) for name in shown)]
        known = {
            k: size
            for run_id in part["run_id"].unique()
            for k, size in (sizes or {}).get(run_id, {}).items()
        }
        found.append(Group(", ".join([data, *more]), part, known))
    return found


def _group_keys(table: pd.DataFrame) -> list[str]:
    return [
        "data",
        "pool",
        *(name for name in table.columns if name not in COLUMNS and name != MIXED),
    ]


def _unless_mixed(table: pd.DataFrame) -> pd.Series:
    """The budget, empty where unequal ones are to be compared."""
    if MIXED not in table:
        return table[BUDGET]
    return table[BUDGET].mask(
        table[MIXED].str.contains(BUDGET, regex=False).fillna(False).astype(bool)
    )


def counts_images(rows: pd.DataFrame) -> pd.Series:
    """Where ``n`` counts the images that a row was measured on; elsewhere it counts what a run was
    trained on.
    """
    return rows["nfe"].notna() | rows["sigma"].notna() | ~rows["metric"].isin(PER_ARM)


def panels(group: Group) -> list[Panel]:
    """The group's metrics, each under each setting, in the order of the report.

    Not among them: profiles over sigma (``profiles``), the first pass over rho
    (``reports.tables.rho``) and the adaptive sampler (``reports.sections.adaptive``).
    """
    rows = group.rows
    rows = rows[rows["sigma"].isna() & ~is_grid(rows) & ~is_adaptive(rows)]
    curves = rows[rows["nfe"].notna() & ~rows["metric"].isin(PER_ARM)]
    best, fixed = best_rho(group.rows), fixed_rho(curves)
    found = []
    for metric, part in curves.groupby("metric", sort=False):
        found += _panels(
            str(metric),
            by_schedule(part, best, fixed),
            ("sampler", "start", "guidance", "n"),
            "nfe",
        )
    for metric, part in rows.drop(curves.index).groupby("metric", sort=False):
        # Another n is another estimate, but where it counts the pools or images that a run was
        # trained on.
        more = ("n",) if counts_images(part).any() else ()
        found += _panels(
            str(metric),
            part,
            (*SETTINGS[:-1], *(("nfe",) if metric in PER_ARM else ()), *more),
            None,
        )
    several = {panel.schedule for panel in found if panel.per_nfe} - {""}
    if len(several) < 2:
        found = [replace(panel, schedule="") for panel in found]
    judged = to_judge({(panel.metric, panel.split) for panel in found if panel.per_nfe})
    found = [
        replace(
            panel,
            judged=panel.per_nfe and (panel.metric, panel.split) in judged,
            note=_singular(panel, group),
        )
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
    """A note where a Frechet distance rests on no more images than features: the covariance has no
    full rank.
    """
    size, n = group.sizes.get(panel.metric), panel.rows["n"].min()
    if size is None or _missing(n) or n > size:
        return ""
    return f"singular covariance: {n:,} images in {size:,} features"


def profiles(group: Group) -> list[Panel]:
    """The group's metrics over sigma, each under each setting, in the order of the report."""
    rows, found = group.rows[group.rows["sigma"].notna()], []
    for metric, part in rows.groupby("metric", sort=False):
        found += _panels(str(metric), part, (*SETTINGS, "nfe"), "sigma")
    return sorted(found, key=lambda panel: (metric_rank(panel.metric), panel.split or ""))


def side_by_side(found: Sequence[Panel]) -> list[list[Panel]]:
    """Panels that differ in rho only, together."""
    return [
        list(part)
        for _, part in groupby(found, key=lambda p: (p.metric, p.split, p.over, p.settings))
    ]


def _panels(
    metric: str, rows: pd.DataFrame, keys: tuple[str, ...], over: str | None
) -> list[Panel]:
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
