"""Cost and curvature over the pool size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reports import text as words
from reports.figures.charts import Chart, Line
from reports.sections.cost import CURVATURE, CUT
from reports.tables.groups import MIXED, marks
from reports.tables.statistics import BASELINE, Cell, by_arm, ordered
from reports.tables.tidy import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from reports.figures.style import Look


@dataclass(frozen=True)
class Pools:
    """Runs that differ in coupling, seed and pool only.

    Attributes: title: the data, and what tells these runs from others. pools: the sizes. measured:
        name of the quantity to coupling to pool to Cell. charts: the same as lines; random pairing
        of one pool, which knows no pool, is a level across all of them.

    """

    title: str
    pools: list[int]
    measured: dict[str, dict[str, dict[int, Cell]]]
    charts: list[Chart]

    def looks(self, look: dict[str, Look]) -> dict[str, Look]:
        """How each line and level is drawn: a level is dashed and has no markers, for nothing was
        measured along it.
        """
        levels = {name for chart in self.charts for name in chart.levels}
        return {
            **look,
            **{name: replace(look[BASELINE], marker="", line="--") for name in sorted(levels)},
        }


def pools(rows: pd.DataFrame) -> list[Pools]:
    """Cut of the transport cost and curvature against the pool, wherever several pools are among
    the runs.
    """
    keys = ["data", *(name for name in rows.columns if name not in COLUMNS and name != MIXED)]
    wanted = rows[rows["metric"].isin(["transport_cost", "transport_cost_independent", CURVATURE])]
    found = []
    for setting, part in wanted.groupby(keys, dropna=False, sort=False):
        same = wanted[wanted["data"].eq(setting[0])]
        shown = [
            words.setting(k, v)
            for k, v in zip(keys[1:], setting[1:], strict=True) if same[k].nunique(dropna=False) > 1
        ]  # fmt: skip
        measured = {
            CUT: _over_pool(_cut(part)),
            CURVATURE: _over_pool(part[part["metric"].eq(CURVATURE)]),
        }
        measured = {
            name: lines
            for name, lines in measured.items()
            if any(len(line) > 1 for line in lines.values())
        }
        if measured:
            sizes = sorted(
                {pool for lines in measured.values() for line in lines.values() for pool in line}
            )
            charts = [_over_pools(name, lines) for name, lines in measured.items()]
            found.append(
                Pools(", ".join([str(setting[0]), *shown, *marks(part)]), sizes, measured, charts)
            )
    return found


def _over_pools(name: str, measured: dict[str, dict[int, Cell]]) -> Chart:
    """Arms as lines through what was measured; random pairing of one pool as a level that names it."""
    once = {arm: points for arm, points in measured.items() if arm == BASELINE and len(points) == 1}
    levels = {
        f"{arm}, pool {pool}": cell.mean
        for arm, points in once.items()
        for pool, cell in points.items()
    }
    levels = {name: mean for name, mean in levels.items() if math.isfinite(mean)}
    return Chart(
        name,
        "pool",
        [Line(arm, points) for arm, points in measured.items() if arm not in once],
        levels,
    )


def _cut(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of 1 - transport_cost / transport_cost_independent, a run each."""
    wide = rows[rows["metric"].ne(CURVATURE)].pivot_table(
        index=["pool", "coupling", "seed"], columns="metric", values="value"
    )
    if len(wide.columns) < 2:
        return rows.iloc[:0]
    return (
        (1 - wide["transport_cost"] / wide["transport_cost_independent"])
        .rename("value")
        .dropna()
        .reset_index()
    )


def _over_pool(rows: pd.DataFrame) -> dict[str, dict[int, Cell]]:
    found: dict[str, dict[int, dict[str, Cell]]] = {}
    for pool, part in rows.groupby("pool", sort=True):
        values: dict[str, dict[int, float]] = {}
        for arm, seed, value in zip(part["coupling"], part["seed"], part["value"], strict=True):
            values.setdefault(str(arm), {})[int(seed)] = float(value)
        for arm, cell in by_arm(values).items():
            found.setdefault(arm, {})[int(pool)] = cell
    return {arm: found[arm] for arm in ordered(found)}
