"""The adaptive sampler (Dormand-Prince), whose NFE is measured, not chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import plugins
from bench.record.infos import Info
from reports.tables.groups import Group
from reports.tables.metrics import Metrics
from reports.tables.select import is_adaptive
from reports.tables.statistics import Cell, by_coupling, ordered, values_by
from reports.text import setting

if TYPE_CHECKING:
    import pandas as pd

title = "Adaptive sampler"
place = 120
NFE = Info("adaptive_nfe", "Evaluations that the sampler takes at its tolerance.", "lower")


@dataclass(frozen=True)
class Row:
    """One coupling at one tolerance.

    Attributes:
        coupling: its name.
        tolerance: of the sampler.
        nfe: evaluations that it took.
        cells: of the metrics; None if one was not measured.

    """

    coupling: str
    tolerance: float
    nfe: Cell
    cells: list[Cell | None]


@dataclass(frozen=True)
class Adaptive:
    """One table.

    Attributes:
        settings: start and guidance in words; empty if there is one of them only.
        metrics: metric and split of the columns.
        rows: the loosest tolerance first, and within it random first.
        info: description of the NFE.

    """

    settings: str
    metrics: list[tuple[str, str]]
    rows: list[Row]
    info: Info = NFE


def build(group: Group) -> list[Adaptive] | None:
    """A table for each start and guidance; None without the adaptive sampler."""
    rows = group.plain.rows
    rows = rows[is_adaptive(rows) & rows["sigma"].isna() & rows["nfe"].notna()]
    keys = ["start", "guidance"]
    varying = [key for key in keys if rows[key].nunique(dropna=False) > 1]
    tables = []
    for values, part in rows.groupby(keys, sort=False, dropna=False):
        place = dict(zip(keys, values, strict=True))
        settings = ", ".join(setting(key, place[key]) for key in varying)
        tables.append(_table(settings, part, group.metrics))
    return tables or None


def _table(settings: str, rows: pd.DataFrame, metrics: Metrics) -> Adaptive:
    rows = rows.assign(split=rows["split"].fillna(""), tolerance=rows["sampler"].map(tolerance))
    measured = set(zip(rows["metric"], rows["split"], strict=True))
    columns = sorted(measured, key=lambda column: (metrics.rank(column[0]), column[1]))
    numbers = values_by(rows, "tolerance", "metric", "split")
    # All metrics of a run rest on the same samples, so its first row has its NFE.
    evaluations = values_by(rows.drop_duplicates(["run_id", "sampler"]), "tolerance", value="nfe")
    found = []
    for (tolerance_,) in sorted(evaluations, reverse=True):
        nfe = by_coupling(evaluations[(tolerance_,)])
        cells = [by_coupling(numbers.get((tolerance_, *column), {})) for column in columns]
        for coupling in ordered(nfe):
            own = [cell.get(coupling) for cell in cells]
            found.append(Row(coupling, tolerance_, nfe[coupling], own))
    return Adaptive(settings, columns, found)


def tolerance(sampler: str) -> float:
    """The tolerance in a sampler's spec, such as ``dopri5:tolerance=0.001``."""
    _, options = plugins.split_spec(sampler)
    return float(options["tolerance"])
