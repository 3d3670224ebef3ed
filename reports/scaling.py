"""What a coupling costs and what it buys: quality against the cost, and how both turn with the pool."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reports import words
from reports.charts import Chart, Line
from reports.statistics import BASELINE, Cell, by_arm, ordered
from reports.tables import COLUMNS, MIXED, Panel, marks

if TYPE_CHECKING:
    import pandas as pd

    from reports.figures import Look

NFE = 13
"""Where quality is set against cost, if it was measured there; else the nearest."""


@dataclass(frozen=True)
class Point:
    """One arm: its overhead, its distance, and whether no arm is both as cheap and as good."""

    arm: str
    overhead: Cell
    distance: Cell
    front: bool


@dataclass(frozen=True)
class Pareto:
    """One group: quality against what the coupling adds to the training."""

    title: str
    points: list[Point]
    chart: Chart


def pareto(rows: pd.DataFrame, panels: Sequence[Panel]) -> Pareto | None:
    """The first judged distance to the test split against ``overhead``; None without two arms that have both."""
    panel = next((p for p in panels if p.judged and p.split == "test" and p.plain), None)
    cost = overhead(rows)
    if panel is None or BASELINE not in cost:
        return None
    nfe = min(panel.cells, key=lambda nfe: abs(math.log(nfe / NFE)))
    distance = {arm: cell for arm, cell in panel.cells[nfe].items() if math.isfinite(cell.mean) and cell.mean > 0}
    both = [arm for arm in ordered(distance) if arm in cost]
    if len(both) < 2:
        return None
    front = _front({arm: (cost[arm].mean, distance[arm].mean) for arm in both})
    points = [Point(arm, cost[arm], distance[arm], arm in front) for arm in both]
    title = f"{panel.title}, NFE {nfe}"
    heights = f"{panel.metric} (logarithmic)"
    lines = [Line(p.arm, {p.overhead.mean: p.distance}, (p.overhead.mean,) if p.front else ()) for p in points]
    across = "coupling overhead, as a fraction of the training's work"
    return Pareto(title, points, Chart(title, across, lines, log="y", y=heights))


def overhead(rows: pd.DataFrame) -> dict[str, Cell]:
    """Arm to seconds that the solver worked, and fitted, over those that the same run trained without waiting for it.

    Each run is measured against itself, so that what else a machine did meanwhile cancels out. Runs that do not say
    how long they trained, waited or solved are left out; without a fit there were no seconds of it.
    """
    wanted = ["train_seconds", "coupling_share", "coupling_wait_share", "coupling_fit_seconds"]
    part = rows[rows["metric"].isin(wanted)]
    wide = part.pivot_table(index=["coupling", "seed"], columns="metric", values="value").reindex(columns=wanted)
    training = wide["train_seconds"] * (1 - wide["coupling_wait_share"])
    work = wide["train_seconds"] * wide["coupling_share"] + wide["coupling_fit_seconds"].fillna(0.0)
    values: dict[str, dict[int, float]] = {}
    for (arm, seed), share in (work / training).dropna().items():
        values.setdefault(str(arm), {})[int(seed)] = float(share)
    return {arm: cell for arm, cell in by_arm(values).items() if math.isfinite(cell.mean)}


def _front(places: dict[str, tuple[float, float]]) -> set[str]:
    """The arms that no other beats in one and equals in the other."""
    return {
        arm for arm, (x, y) in places.items()
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in places.values())
    }  # fmt: skip


@dataclass(frozen=True)
class Pools:
    """Runs that differ in coupling, seed and pool only.

    Attributes:
        title: the data, and what tells these runs from others.
        pools: the sizes.
        measured: name of the quantity to coupling to pool to Cell.
        charts: the same as lines; random pairing of one pool, which knows no pool, is a level across all of them.

    """

    title: str
    pools: list[int]
    measured: dict[str, dict[str, dict[int, Cell]]]
    charts: list[Chart]

    def looks(self, look: dict[str, Look]) -> dict[str, Look]:
        """How each line and level is drawn: a level is dashed and has no markers, for nothing was measured along it."""
        levels = {name for chart in self.charts for name in chart.levels}
        return {**look, **{name: replace(look[BASELINE], marker="", line="--") for name in sorted(levels)}}


CUT, CURVATURE = "transport cost saved", "curvature_fm"


def pools(rows: pd.DataFrame) -> list[Pools]:
    """Cut of the transport cost and curvature against the pool, wherever several pools are among the runs."""
    keys = ["data", *(name for name in rows.columns if name not in COLUMNS and name != MIXED)]
    wanted = rows[rows["metric"].isin(["transport_cost", "transport_cost_independent", CURVATURE])]
    found = []
    for setting, part in wanted.groupby(keys, dropna=False, sort=False):
        same = wanted[wanted["data"].eq(setting[0])]
        shown = [
            words.setting(k, v)
            for k, v in zip(keys[1:], setting[1:], strict=True) if same[k].nunique(dropna=False) > 1
        ]  # fmt: skip
        measured = {CUT: _over_pool(_cut(part)), CURVATURE: _over_pool(part[part["metric"].eq(CURVATURE)])}
        measured = {name: lines for name, lines in measured.items() if any(len(line) > 1 for line in lines.values())}
        if measured:
            sizes = sorted({pool for lines in measured.values() for line in lines.values() for pool in line})
            charts = [_over_pools(name, lines) for name, lines in measured.items()]
            found.append(Pools(", ".join([str(setting[0]), *shown, *marks(part)]), sizes, measured, charts))
    return found


def _over_pools(name: str, measured: dict[str, dict[int, Cell]]) -> Chart:
    """Arms as lines through what was measured; random pairing of one pool as a level that names it."""
    once = {arm: points for arm, points in measured.items() if arm == BASELINE and len(points) == 1}
    levels = {f"{arm}, pool {pool}": cell.mean for arm, points in once.items() for pool, cell in points.items()}
    levels = {name: mean for name, mean in levels.items() if math.isfinite(mean)}
    return Chart(name, "pool", [Line(arm, points) for arm, points in measured.items() if arm not in once], levels)


def _cut(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of 1 - transport_cost / transport_cost_independent, a run each."""
    wide = rows[rows["metric"].ne(CURVATURE)].pivot_table(
        index=["pool", "coupling", "seed"], columns="metric", values="value"
    )
    if len(wide.columns) < 2:
        return rows.iloc[:0]
    return (1 - wide["transport_cost"] / wide["transport_cost_independent"]).rename("value").dropna().reset_index()


def _over_pool(rows: pd.DataFrame) -> dict[str, dict[int, Cell]]:
    found: dict[str, dict[int, dict[str, Cell]]] = {}
    for pool, part in rows.groupby("pool", sort=True):
        values: dict[str, dict[int, float]] = {}
        for arm, seed, value in zip(part["coupling"], part["seed"], part["value"], strict=True):
            values.setdefault(str(arm), {})[int(seed)] = float(value)
        for arm, cell in by_arm(values).items():
            found.setdefault(arm, {})[int(pool)] = cell
    return {arm: found[arm] for arm in ordered(found)}
