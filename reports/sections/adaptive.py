"""Adaptive samplers, such as Dormand-Prince, whose NFE is measured, not chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.record.infos import Info
from reports.tables.arms import ordered
from reports.tables.groups import Group
from reports.tables.metrics import Metrics
from reports.tables.select import is_adaptive
from reports.tables.statistics import Cell, by_coupling, values_by
from reports.text import setting

if TYPE_CHECKING:
    import pandas as pd

title = "Adaptive sampler"
place = 120
folded = True
NFE = Info("adaptive_nfe", "Evaluations that the sampler needed.", "lower")


@dataclass(frozen=True)
class Row:
    """One coupling and one sampler.

    Attributes:
        coupling: its name.
        sampler: its spec, such as ``dopri5:tolerance=0.001``.
        nfe: evaluations that it took.
        cells: of the metrics; None if one was not measured.

    """

    coupling: str
    sampler: str
    nfe: Cell
    cells: list[Cell | None]


@dataclass(frozen=True)
class Adaptive:
    """One table.

    Attributes:
        settings: start and guidance in words; empty if there is one of them only.
        metrics: metric and split of the columns.
        rows: the sampler with the fewest evaluations first, and within it random first.
        info: description of the NFE.

    """

    settings: str
    metrics: list[tuple[str, str]]
    rows: list[Row]
    info: Info = NFE


def build(group: Group) -> list[Adaptive] | None:
    """A table for each start and guidance; None without an adaptive sampler."""
    rows = group.plain.rows
    rows = rows[is_adaptive(rows, group.metrics) & rows["sigma"].isna()]
    keys = ["start", "guidance"]
    varying = [key for key in keys if rows[key].nunique(dropna=False) > 1]
    tables = []
    for values, part in rows.groupby(keys, sort=False, dropna=False):
        place = dict(zip(keys, values, strict=True))
        settings = ", ".join(setting(key, place[key]) for key in varying)
        tables.append(_table(settings, part, group.metrics))
    return tables or None


def _table(settings: str, rows: pd.DataFrame, metrics: Metrics) -> Adaptive:
    rows = rows.assign(split=rows["split"].fillna(""))
    measured = set(zip(rows["metric"], rows["split"], strict=True))
    columns = sorted(measured, key=lambda column: (metrics.rank(column[0]), column[1]))
    numbers = values_by(rows, "sampler", "metric", "split")
    # All metrics of a run rest on the same samples, so its first row has its NFE.
    firsts = rows.drop_duplicates(["run_id", "sampler"])
    evaluations = values_by(firsts, "sampler", value="nfe")
    found = []
    # The order of the specs as text would put a tolerance of 0.01 after one of 0.0001.
    for sampler in firsts.groupby("sampler")["nfe"].mean().sort_values(kind="stable").index:
        nfe = by_coupling(evaluations[(sampler,)])
        cells = [by_coupling(numbers.get((sampler, *column), {})) for column in columns]
        for coupling in ordered(nfe):
            own = [cell.get(coupling) for cell in cells]
            found.append(Row(coupling, sampler, nfe[coupling], own))
    return Adaptive(settings, columns, found)
