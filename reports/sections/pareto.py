"""Quality against the work that a coupling adds to the training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reports.figures.charts import Chart, Line, figure_of
from reports.figures.style import level_look, looks
from reports.figures.svg import Figure
from reports.tables.arms import is_baseline, ordered
from reports.tables.floors import REAL
from reports.tables.groups import Group
from reports.tables.overhead import overhead
from reports.tables.primary import NFE
from reports.tables.statistics import Cell

title = "Quality and training overhead"
place = 50
folded = True


@dataclass(frozen=True)
class Point:
    """One coupling.

    Attributes:
        coupling: its name.
        overhead: work that it adds, as a fraction of the training's own.
        distance: its quality.
        front: True if no other coupling is as cheap and as good.

    """

    coupling: str
    overhead: Cell
    distance: Cell
    front: bool


@dataclass(frozen=True)
class Pareto:
    """The points of one comparison, as a table and as a figure."""

    title: str
    points: list[Point]
    chart: Chart
    figure: Figure


def build(group: Group) -> Pareto | None:
    """The first judged distance to the test split against ``overhead``; None without two couplings
    that have both.
    """
    group = group.plain
    panel = group.first_judged
    cost = overhead(group.rows)
    if panel is None or not any(map(is_baseline, cost)):
        return None
    nfe = panel.nearest(group.question.nfe if group.question else NFE)
    distance = {}
    for coupling, cell in panel.cells[nfe].items():
        # The axis is logarithmic.
        if coupling in cost and math.isfinite(cell.mean) and cell.mean > 0:
            distance[coupling] = cell
    if len(distance) < 2:
        return None
    places = {name: (cost[name].mean, cell.mean) for name, cell in distance.items()}
    points = []
    for name in ordered(distance):
        # By the means: with intervals on both axes, few seeds would put nearly all on the front.
        points.append(Point(name, cost[name], distance[name], _is_front(name, places)))
    caption = f"{panel.heading}, NFE {nfe}"
    levels = {}
    about = _ABOUT
    # A logarithmic axis has no place for the floor of an unbiased distance.
    if panel.floor and panel.floor.value > 0:
        levels[REAL] = panel.floor.value
        about += " Dashed: as many real training images instead of samples."
    chart = _chart(points, panel.info.full_title, levels)
    look = looks(group.couplings) | {REAL: level_look()}
    return Pareto(caption, points, chart, figure_of(caption, [chart], look, about))


_ABOUT = (
    "Overhead: seconds that the solver worked (its fit included) over the seconds of training"
    " without waiting for it, so 1 doubles the work. Ring: Pareto-optimal, by the means."
)


def _chart(points: list[Point], heights: str, levels: dict[str, float]) -> Chart:
    lines = []
    for point in points:
        x = point.overhead.mean
        lines.append(Line(point.coupling, {x: point.distance}, (x,) if point.front else ()))
    across = "coupling overhead (fraction of training time)"
    # The caption has the settings; its axis names the metric.
    return Chart("", across, lines, levels, log="y", y=heights)


def _is_front(name: str, places: dict[str, tuple[float, float]]) -> bool:
    """True if no other is better in cost or quality and at least equal in the other."""
    x, y = places[name]
    for other_x, other_y in places.values():
        if other_x <= x and other_y <= y and (other_x, other_y) != (x, y):
            return False
    return True
