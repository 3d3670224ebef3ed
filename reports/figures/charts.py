"""Small charts side by side in one figure, for what has an axis of its own: weight, level, cost,
pool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.figures import panels as figures
from reports.figures.drawing import drawing_style, load_matplotlib
from reports.figures.style import Look
from reports.tables.statistics import Cell
from reports.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Line:
    """What one line goes through.

    Attributes:
        name: as in the legend; lines of one name share their look.
        points: x to Cell.
        marked: the x that get a ring.

    """

    name: str
    points: dict[float, Cell]
    marked: tuple[float, ...] = ()

    @property
    def means(self) -> dict[float, float]:
        """X to mean, where that is finite."""
        return {x: cell.mean for x, cell in self.points.items() if math.isfinite(cell.mean)}


@dataclass(frozen=True)
class Chart:
    """One pair of axes.

    Attributes: title: above it. x: what the horizontal axis shows. lines: what is drawn. levels:
        name to height of horizontal lines. log: ``x``, ``y``, ``xy`` or empty; an axis of heights
        that is not logarithmic begins at zero. y: what the vertical axis shows, where the title
        does not say it.

    """

    title: str
    x: str
    lines: Sequence[Line]
    levels: dict[str, float] = field(default_factory=dict)
    log: str = "x"
    y: str = ""


def draw(charts: Sequence[Chart], look: dict[str, Look], columns: int = 2) -> Markup:
    """The charts in rows of ``columns``, under one legend; ``look`` is by the names of lines and
    levels.
    """
    with drawing_style(figures._STYLE):
        return figures._svg(drawing(charts, look, columns), " ".join(map(describe, charts)))


def drawing(charts: Sequence[Chart], look: dict[str, Look], columns: int = 2) -> Figure:
    """The charts as a figure of matplotlib; see ``draw``."""
    load_matplotlib()
    from matplotlib.figure import Figure

    columns = min(columns, len(charts))
    rows = -(-len(charts) // columns)
    with drawing_style(figures._STYLE):
        figure = Figure(figsize=(figures.PANEL * columns, 0.5 + 2.7 * rows), layout="constrained")
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        for ax, chart in zip(grid, charts, strict=False):
            _draw(ax, chart, look)
        for ax in grid[len(charts) :]:
            ax.set_visible(False)
        names = {
            name
            for chart in charts
            for name in (*(line.name for line in chart.lines), *chart.levels)
        }
        legend = figures._legend(figure, [name for name in look if name in names], look)
        figure.set_figheight(figure.get_figheight() + max(0.0, legend - figures.LEGEND))
        figure.get_layout_engine().set(rect=(0, 0, 1, 1 - legend / figure.get_figheight()))
    return figure


def describe(chart: Chart) -> str:
    """The chart in a sentence, for who cannot see it."""
    ends = [f"{line.name} {_ends(line.means)}" for line in chart.lines if line.means]
    ends += [f"{name} {number(value)} throughout" for name, value in chart.levels.items()]
    return f"Chart of {chart.title} against {chart.x}: {'; '.join(ends) or 'nothing to draw'}."


def caption(charts: Sequence[Chart]) -> str:
    """What the marks stand for, and how sure the points are."""
    counts = [
        len(cell.values)
        for chart in charts
        for line in chart.lines
        for cell in line.points.values()
    ]
    if max(counts, default=0) < 2:
        return "One seed each, so nothing shows how far chance moves the points."
    return (
        "Points are means over seeds; bars reach from the lowest to the highest of up to"
        f" {max(counts)} seeds."
    )


def _ends(means: dict[float, float]) -> str:
    places = sorted(means)
    first, last = places[0], places[-1]
    ends = f"{number(means[first])} at {first:.3g}"
    return ends if first == last else f"{ends}, {number(means[last])} at {last:.3g}"


def _draw(ax: Axes, chart: Chart, look: dict[str, Look]) -> None:
    drawn = []
    for k, line in enumerate(chart.lines):
        means = {
            x: mean for x, mean in sorted(line.means.items()) if mean > 0 or "y" not in chart.log
        }
        style = {
            "color": look[line.name].colour,
            "linestyle": look[line.name].line,
            "marker": look[line.name].marker,
        }
        # What is drawn first is drawn larger, to be seen where others cover it
        under = 1 - k / len(chart.lines)
        ax.plot(list(means), list(means.values()), linewidth=1.3 + 1.2 * under, markersize=4.5 + 4 * under,
                markeredgecolor="none", **style)  # fmt: skip
        for x, mean in means.items():
            values = [
                v
                for v in line.points[x].values.values()
                if math.isfinite(v) and (v > 0 or "y" not in chart.log)
            ]
            ax.vlines(
                x, min(values), max(values), color=look[line.name].colour, linewidth=1, alpha=0.6
            )
            drawn += [mean, *values]
        rings = {x: means[x] for x in line.marked if x in means}
        ax.plot(list(rings), list(rings.values()), linestyle="", marker="o", markersize=11, markerfacecolor="none",
                color=look[line.name].colour)  # fmt: skip
    for name, height in chart.levels.items():
        ax.axhline(height, color=look[name].colour, linestyle=look[name].line, linewidth=1.4)
        drawn.append(height)
    ax.set_title(chart.title, fontsize=9)
    ax.set(xlabel=chart.x, ylabel=chart.y)
    _axes(ax, chart, [value for value in drawn if value > 0])


def _axes(ax: Axes, chart: Chart, heights: Sequence[float]) -> None:
    from matplotlib import ticker

    places = sorted({x for line in chart.lines for x in line.points})
    if (
        "x" not in chart.log
        and any(len(line.points) > 1 for line in chart.lines)
        and len(places) <= 6
    ):
        ax.xaxis.set_major_locator(ticker.FixedLocator(places))
        ax.xaxis.set_major_formatter(figures._plain)
    elif "x" not in chart.log:
        ax.xaxis.set_major_locator(ticker.MaxNLocator(4))
    if "x" in chart.log:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(
            ticker.FixedLocator(places) if len(places) <= 6 else ticker.LogLocator(subs=(1, 2, 5))
        )
        ax.xaxis.set_minor_locator(ticker.NullLocator())
        ax.xaxis.set_major_formatter(figures._plain)
    if "y" in chart.log:
        figures._log_heights(ax, heights)
    else:
        low, high = ax.get_ylim()
        # Room for the markers at the top
        ax.set_ylim(min(0.0, low), high + 0.05 * (high - min(0.0, low)))
        ax.yaxis.set_major_formatter(figures._plain)
