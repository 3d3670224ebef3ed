"""The adaptive sampler (Dormand-Prince): it takes as many evaluations as it needs, so NFE is
measured, not chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports import text as words
from reports.tables.groups import Group
from reports.tables.metrics import metric_rank
from reports.tables.select import is_adaptive
from reports.tables.statistics import Cell, by_arm, ordered

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Adaptive:
    """One table: what each arm reaches, and at how many evaluations.

    Attributes: settings: start and guidance in words, empty where there is one of them only.
        metrics: metric and split of the columns. rows: arm, tolerance, the arm's NFE and the values
        of the metrics. An arm has a row for each tolerance, the
            loosest first; where a metric was not measured there is None.

    """

    settings: str
    metrics: list[tuple[str, str]]
    rows: list[tuple[str, float, Cell, list[Cell | None]]]


def adaptive(group: Group) -> list[Adaptive]:
    """The tables of a group, one for each start and guidance; none without rows of the adaptive
    sampler.
    """
    rows = group.rows
    rows = rows[is_adaptive(rows) & rows["sigma"].isna() & rows["nfe"].notna()]
    found = []
    for setting, part in rows.groupby(["start", "guidance"], sort=False, dropna=False):
        varying = rows[["start", "guidance"]].nunique(dropna=False) > 1
        named = [
            words.setting(name, value)
            for name, value in zip(varying.index, setting, strict=True)
            if varying[name]
        ]
        found.append(_table(", ".join(named), part))
    return found


def _table(settings: str, rows: pd.DataFrame) -> Adaptive:
    rows = rows.assign(split=rows["split"].fillna(""), tolerance=rows["sampler"].map(_tolerance))
    shown = rows[["metric", "split"]].drop_duplicates()
    metrics = sorted(
        shown.itertuples(index=False, name=None), key=lambda key: (metric_rank(key[0]), key[1])
    )
    found = []
    for tolerance, part in sorted(rows.groupby("tolerance"), reverse=True):
        nfe = _cells(part.drop_duplicates("run_id"), "nfe")
        columns = [
            _cells(part[part["metric"].eq(m) & part["split"].eq(s)], "value") for m, s in metrics
        ]
        found += [
            (arm, tolerance, nfe[arm], [column.get(arm) for column in columns])
            for arm in ordered(nfe)
        ]
    return Adaptive(settings, metrics, found)


def _tolerance(sampler: str) -> float:
    return float(sampler.partition("tolerance=")[2])


def _cells(rows: pd.DataFrame, column: str) -> dict[str, Cell]:
    values: dict[str, dict[int, float]] = {}
    for arm, seed, value in zip(
        rows["coupling"].tolist(), rows["seed"].tolist(), rows[column].tolist(), strict=True
    ):
        values.setdefault(arm, {})[seed] = float(value)
    return by_arm(values)
