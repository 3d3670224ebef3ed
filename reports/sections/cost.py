"""What a coupling costs and what it buys: quality against the cost, and how both turn with the
pool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.figures.charts import Chart, Line
from reports.tables.groups import Panel
from reports.tables.statistics import BASELINE, Cell, by_arm, ordered

if TYPE_CHECKING:
    import pandas as pd


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
    """The first judged distance to the test split against ``overhead``; None without two arms that
    have both.
    """
    panel = next((p for p in panels if p.judged and p.split == "test" and p.plain), None)
    cost = overhead(rows)
    if panel is None or BASELINE not in cost:
        return None
    nfe = min(panel.cells, key=lambda nfe: abs(math.log(nfe / NFE)))
    distance = {
        arm: cell
        for arm, cell in panel.cells[nfe].items()
        if math.isfinite(cell.mean) and cell.mean > 0
    }
    both = [arm for arm in ordered(distance) if arm in cost]
    if len(both) < 2:
        return None
    front = _front({arm: (cost[arm].mean, distance[arm].mean) for arm in both})
    points = [Point(arm, cost[arm], distance[arm], arm in front) for arm in both]
    title = f"{panel.title}, NFE {nfe}"
    heights = f"{panel.metric} (logarithmic)"
    lines = [
        Line(p.arm, {p.overhead.mean: p.distance}, (p.overhead.mean,) if p.front else ())
        for p in points
    ]
    across = "coupling overhead, as a fraction of the training's work"
    return Pareto(title, points, Chart(title, across, lines, log="y", y=heights))


def overhead(rows: pd.DataFrame) -> dict[str, Cell]:
    """Arm to seconds that the solver worked, and fitted, over those that the same run trained
    without waiting for it.

    Each run is measured against itself, so that what else a machine did meanwhile cancels out. Runs
    that do not say how long they trained, waited or solved are left out; without a fit there were
    no seconds of it.
    """
    wanted = ["train_seconds", "coupling_share", "coupling_wait_share", "coupling_fit_seconds"]
    part = rows[rows["metric"].isin(wanted)]
    wide = part.pivot_table(index=["coupling", "seed"], columns="metric", values="value").reindex(
        columns=wanted
    )
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


CUT, CURVATURE = "transport cost saved", "curvature_fm"
