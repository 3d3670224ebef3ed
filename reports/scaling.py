"""What a coupling costs and what it buys: quality against training time, and how both turn with the pool."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports import words
from reports.charts import Chart, Line
from reports.statistics import BASELINE, Cell, by_arm, ordered
from reports.tables import COLUMNS, MIXED, Panel, marks

if TYPE_CHECKING:
    import pandas as pd

NFE = 13
"""Where quality is set against cost, if it was measured there; else the nearest."""


@dataclass(frozen=True)
class Point:
    """One arm: its seconds of training and fit, the same over those of random, its distance, and whether no arm is both
    as cheap and as good.
    """

    arm: str
    seconds: Cell
    times: Cell
    distance: Cell
    front: bool


@dataclass(frozen=True)
class Pareto:
    """One group: quality against training time."""

    title: str
    points: list[Point]
    chart: Chart


def pareto(rows: pd.DataFrame, panels: Sequence[Panel]) -> Pareto | None:
    """The first judged distance to the test split against training time; None without two arms that have both."""
    panel = next((p for p in panels if p.judged and p.split == "test" and p.plain), None)
    seconds = training_seconds(rows)
    if panel is None or BASELINE not in seconds:
        return None
    nfe = min(panel.cells, key=lambda nfe: abs(math.log(nfe / NFE)))
    distance = {arm: cell for arm, cell in panel.cells[nfe].items() if math.isfinite(cell.mean) and cell.mean > 0}
    times = {
        arm: Cell({s: v / seconds[BASELINE].values[s] for s, v in cell.values.items() if s in cell.baseline}, {})
        for arm, cell in seconds.items()
        if cell.baseline or arm == BASELINE
    }
    times[BASELINE] = Cell(dict.fromkeys(seconds[BASELINE].values, 1.0), {})
    both = [arm for arm in ordered(distance) if arm in times]
    if len(both) < 2:
        return None
    front = _front({arm: (times[arm].mean, distance[arm].mean) for arm in both})
    points = [Point(arm, seconds[arm], times[arm], distance[arm], arm in front) for arm in both]
    title = f"{panel.title}, NFE {nfe}"
    lines = [Line(p.arm, {p.times.mean: p.distance}, (p.times.mean,) if p.front else ()) for p in points]
    return Pareto(title, points, Chart(title, "seconds of training and fit, times random's", lines, log="y"))


def training_seconds(rows: pd.DataFrame) -> dict[str, Cell]:
    """Arm to the seconds of training and of fitting the coupling, for runs that say how long they trained."""
    wanted = rows[rows["metric"].isin(["train_seconds", "coupling_fit_seconds"])]
    trained = set(wanted[wanted["metric"].eq("train_seconds")]["run_id"])
    total: dict[str, dict[int, float]] = {}
    for run, arm, seed, value in zip(wanted.run_id, wanted.coupling, wanted.seed, wanted.value, strict=True):
        if run in trained:
            seeds = total.setdefault(str(arm), {})
            seeds[int(seed)] = seeds.get(int(seed), 0.0) + float(value)
    found = by_arm(total)
    return {arm: cell for arm, cell in found.items() if math.isfinite(cell.mean) and cell.mean > 0}


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
        charts: the same as lines.

    """

    title: str
    pools: list[int]
    measured: dict[str, dict[str, dict[int, Cell]]]
    charts: list[Chart]


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
            charts = [
                Chart(name, "pool", [Line(arm, points) for arm, points in lines.items()])
                for name, lines in measured.items()
            ]
            found.append(Pools(", ".join([str(setting[0]), *shown, *marks(part)]), sizes, measured, charts))
    return found


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
