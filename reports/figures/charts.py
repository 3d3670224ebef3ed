"""Small charts side by side, for axes other than NFE and sigma: weight, level, cost, pool."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from reports.figures.drawing import drawing_style, load_matplotlib
from reports.figures.style import (
    LABEL,
    LEGEND,
    PANEL,
    STYLE,
    WIDE_LABEL,
    Look,
    axis_label,
    line_style,
    log_heights,
    set_legend,
    tick_text,
)
from reports.figures.svg import Figure, to_svg
from reports.tables.statistics import Cell
from reports.text import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_FEW_PLACES = 6  # that each get a tick


@dataclass(frozen=True)
class Line:
    """The points of one line.

    Attributes:
        name: as in the legend; lines of one name share their look.
        points: x to Cell.
        marked: the x that get a ring.

    """

    name: str
    points: Mapping[Any, Cell]
    marked: tuple[float, ...] = ()

    @property
    def means(self) -> dict[float, float]:
        """X to mean, where that is finite."""
        return {x: cell.mean for x, cell in self.points.items() if math.isfinite(cell.mean)}


@dataclass(frozen=True)
class Chart:
    """One pair of axes.

    Attributes:
        title: above it.
        x: name of the horizontal axis.
        lines: the lines.
        levels: name to height of horizontal lines.
        log: ``x``, ``y``, ``xy`` or empty; an axis of heights that is not logarithmic begins at
            zero.
        y: name of the vertical axis, if the title does not say it.

    """

    title: str
    x: str
    lines: Sequence[Line]
    levels: dict[str, float] = field(default_factory=dict)
    log: str = "x"
    y: str = ""

    def drawable(self, value: float) -> bool:
        """True for a value that the vertical axis can show."""
        return math.isfinite(value) and (value > 0 or "y" not in self.log)


def figure_of(
    title: str, charts: Sequence[Chart], look: dict[str, Look], about: str = ""
) -> Figure:
    """Charts side by side as one figure.

    Args:
        title: of the figure.
        charts: its axes.
        look: of the lines and levels, by name.
        about: sentences that the caption begins with.

    """
    words = f"{about} {caption(charts)}".strip()
    return Figure(title, draw(charts, look), words, wide=len(charts) > 1)


def draw(charts: Sequence[Chart], look: dict[str, Look], columns: int = 2) -> Markup:
    """The charts in rows of ``columns``, under one legend."""
    with drawing_style(STYLE):
        return to_svg(drawing(charts, look, columns), " ".join(map(describe, charts)))


def drawing(charts: Sequence[Chart], look: dict[str, Look], columns: int = 2) -> Canvas:
    """The charts as a figure of matplotlib; see ``draw``."""
    load_matplotlib()
    from matplotlib.figure import Figure

    columns = min(columns, len(charts))
    rows = math.ceil(len(charts) / columns)
    with drawing_style(STYLE):
        figure = Figure(figsize=(PANEL * columns, 0.5 + 2.7 * rows), layout="constrained")
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        # Not strict, because the last row of the grid may not be full.
        for ax, chart in zip(grid, charts, strict=False):
            _draw(ax, chart, look)
        for ax in grid[len(charts) :]:
            ax.set_visible(False)
        names = _names(charts)
        # In the order of the looks, so that all figures list couplings alike.
        legend = set_legend(figure, [name for name in look if name in names], look)
        # More rows than one must not press the axes together.
        figure.set_figheight(figure.get_figheight() + max(0.0, legend - LEGEND))
        # The layout engine does not know of legends of a figure and would draw over it.
        figure.get_layout_engine().set(rect=(0, 0, 1, 1 - legend / figure.get_figheight()))
    return figure


def _names(charts: Sequence[Chart]) -> set[str]:
    """Names of all lines and levels."""
    names: set[str] = set()
    for chart in charts:
        names.update(line.name for line in chart.lines)
        names.update(chart.levels)
    return names


def describe(chart: Chart) -> str:
    """The chart in a sentence, for readers who cannot see it."""
    parts = [f"{line.name} {_ends(line.means)}" for line in chart.lines if line.means]
    parts += [f"{name} {number(value)} throughout" for name, value in chart.levels.items()]
    drawn = "; ".join(parts) or "nothing to draw"
    return f"Chart of {chart.title or chart.y} over {chart.x}: {drawn}."


def caption(charts: Sequence[Chart]) -> str:
    """The meaning of the marks."""
    most = 0
    for chart in charts:
        for line in chart.lines:
            most = max([most, *(len(cell.values) for cell in line.points.values())])
    if most < 2:
        return "Points: one seed each, no error bars."
    return f"Points: means over seeds; vertical bars: lowest to highest of up to {most} seeds."


def _ends(means: dict[float, float]) -> str:
    """The first and the last mean of a line."""
    first = min(means)
    last = max(means)
    text = f"{number(means[first])} at {first:.3g}"
    return text if first == last else f"{text}, {number(means[last])} at {last:.3g}"


def _draw(ax: Axes, chart: Chart, look: dict[str, Look]) -> None:
    heights = []
    for place, line in enumerate(chart.lines):
        # The first line is drawn larger, to be seen where others cover it.
        heights += _draw_line(ax, chart, line, look[line.name], larger=1 - place / len(chart.lines))
    for name, height in chart.levels.items():
        ax.axhline(height, color=look[name].colour, linestyle=look[name].line, linewidth=1.4)
        heights.append(height)
    ax.set_title(axis_label(chart.title, WIDE_LABEL), fontsize=9)
    ax.set_xlabel(axis_label(chart.x, WIDE_LABEL, log="x" in chart.log))
    ax.set_ylabel(axis_label(chart.y, LABEL, log="y" in chart.log))
    _set_horizontal(ax, chart)
    _set_vertical(ax, chart, [height for height in heights if height > 0])


def _draw_line(ax: Axes, chart: Chart, line: Line, look: Look, larger: float) -> list[float]:
    """Draw the means, the range of the seeds and the rings; return all heights."""
    # Rising, because a line is drawn in the order of its points and would double back.
    means = {x: mean for x, mean in sorted(line.means.items()) if chart.drawable(mean)}
    style = line_style(look, size=4.5 + 4 * larger, width=1.3 + 1.2 * larger)
    ax.plot(list(means), list(means.values()), **style)
    heights = list(means.values())
    for x in means:
        seeds = [value for value in line.points[x].values.values() if chart.drawable(value)]
        # The range, and no confidence interval: intervals of two couplings may overlap although
        # their difference, seed by seed, is clear. There is a seed: a drawable mean has one.
        ax.vlines(x, min(seeds), max(seeds), color=look.colour, linewidth=1, alpha=0.6)
        heights += seeds
    rings = {x: means[x] for x in line.marked if x in means}
    ring = {"linestyle": "", "marker": "o", "markersize": 11, "markerfacecolor": "none"}
    ax.plot(list(rings), list(rings.values()), color=look.colour, **ring)
    return heights


def _set_horizontal(ax: Axes, chart: Chart) -> None:
    """Set ticks at the measured places while there are few of them."""
    from matplotlib import ticker

    places = set().union(*(line.points for line in chart.lines))
    # Ticks where something was measured: a line between two of them is only a guide.
    few = len(places) <= _FEW_PLACES
    if "x" in chart.log:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(ticker.NullLocator())
        sparse = ticker.LogLocator(subs=(1, 2, 5))
    else:
        sparse = ticker.MaxNLocator(4)
        # Lines of one point each stand at arbitrary places, which make poor ticks.
        few = few and any(len(line.points) > 1 for line in chart.lines)
    ax.xaxis.set_major_locator(ticker.FixedLocator(sorted(places)) if few else sparse)
    if few or "x" in chart.log:
        ax.xaxis.set_major_formatter(tick_text)


def _set_vertical(ax: Axes, chart: Chart, heights: Sequence[float]) -> None:
    if "y" in chart.log:
        log_heights(ax, heights)
        return
    low, high = ax.get_ylim()
    # An axis that does not begin at zero makes small differences look large.
    bottom = min(0.0, low)
    # Room for the markers at the top
    ax.set_ylim(bottom, high + 0.05 * (high - bottom))
    ax.yaxis.set_major_formatter(tick_text)
