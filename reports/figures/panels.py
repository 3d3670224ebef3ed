"""Figures of panels: curves over NFE or sigma, and bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.figures.drawing import drawing_style, load_matplotlib
from reports.figures.style import (
    DECADES,
    HEIGHT,
    INK,
    LABEL,
    LEGEND,
    LETTER,
    PANEL,
    SIGMA,
    STYLE,
    WIDE_LABEL,
    Look,
    axis_label,
    is_drawable,
    level_look,
    line_style,
    log_heights,
    set_legend,
    set_margins,
    span,
    tick_text,
)
from reports.figures.svg import to_svg
from reports.tables.arms import ordered
from reports.tables.floors import REAL
from reports.tables.panels import Panel
from reports.tables.statistics import Cell
from reports.text import number, pieces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A band of three or four values would look like a distribution that is known.
_BAR_LABEL = 24  # letters along the width of bars, next to their names
FEW_SEEDS = 5  # over NFE, fewer seeds than this are dots, and more are a band


def curve(panels: Sequence[Panel], look: dict[str, Look]) -> Markup:
    """A metric against NFE or sigma: lines through the means, seeds as dots or as a band.

    Both axes are logarithmic. Panels that differ in schedule stand side by side on one scale.
    """
    with drawing_style(STYLE):
        return to_svg(curve_drawing(panels, look), describe(panels))


def curve_drawing(panels: Sequence[Panel], look: dict[str, Look]) -> Figure:
    """The curves as a figure of matplotlib; see ``curve``."""
    load_matplotlib()
    from matplotlib.figure import Figure

    values = _drawn_values(panels)
    with drawing_style(STYLE):
        figure = Figure(figsize=(PANEL * len(panels), HEIGHT))
        # One scale, so that heights can be compared across panels.
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for panel, ax in zip(panels, axes, strict=True):
            _draw(ax, panel, look)
            _set_log_axes(ax, panel, values)
            ax.set(xlabel=axis_label("NFE" if panel.per_nfe else SIGMA, WIDE_LABEL, log=True))
            if len(panels) > 1:
                ax.set_title(panel.schedule, fontsize=9)
        axes[0].set(ylabel=axis_label(panels[0].info.full_title, LABEL, log=True))
        # Heights of the legend and widths of the ticks are known only now, so margins come last.
        levels = {REAL: level_look()} if _floors(panels) else {}
        legend = set_legend(figure, [*_couplings(panels), *levels], look | levels)
        # More rows than one must not press the axes together.
        figure.set_figheight(HEIGHT + max(0.0, legend - LEGEND))
        heading = 0.3 if len(panels) > 1 else 0.12
        set_margins(figure, left=_left(axes[0]), bottom=0.5, top=legend + heading)
    return figure


def _couplings(panels: Sequence[Panel]) -> list[str]:
    """The couplings that any of the panels shows."""
    found: set[str] = set()
    for panel in panels:
        for row in panel.cells.values():
            found.update(row)
    return ordered(found)


def _floors(panels: Sequence[Panel]) -> list[float]:
    """Heights of the lines of real images, each once."""
    found = [panel.floor.value for panel in panels if panel.floor]
    return sorted({value for value in found if is_drawable(value)})


def _left(axes: Axes) -> float:
    """Inches that the ticks and the label of the vertical axis need."""
    low, high = axes.get_ylim()
    # Ticks outside the limits are located as well, but not drawn.
    ticks = [tick_text(tick) for tick in axes.yaxis.get_majorticklocs() if low <= tick <= high]
    letters = max(map(len, ticks), default=0)
    lines = 1 + axes.get_ylabel().count("\n")
    return max(0.88, 0.25 + LETTER * letters + 0.2 * lines)


def _draw(axes: Axes, panel: Panel, look: dict[str, Look]) -> None:
    """Lines through the means, and the seeds as dots or as a band."""
    for coupling in _couplings([panel]):
        cells = _drawable_cells(panel, coupling)
        places = list(cells)
        means = [cell.mean for cell in cells.values()]
        # Over sigma the places are so close that larger markers would merge.
        style = line_style(look[coupling], size=5.5 if panel.per_nfe else 3, width=1.6)
        axes.plot(places, means, **style)
        if _is_banded(panel):
            _draw_band(axes, cells, style["color"])
        elif panel.per_nfe and _most_seeds(panel) > 1:
            _draw_dots(axes, cells, look[coupling])
    for height in _floors([panel]):
        level = level_look()
        axes.axhline(height, color=level.colour, linestyle=level.line, linewidth=1.2, zorder=1)


def _drawable_cells(panel: Panel, coupling: str) -> dict[float, Cell]:
    """Place to cell of one coupling, where a logarithmic axis can show its mean."""
    found = {}
    for place, row in panel.cells.items():
        if coupling in row and is_drawable(row[coupling].mean):
            found[place] = row[coupling]
    return found


def _drawable_seeds(cell: Cell) -> list[float]:
    return [value for value in cell.values.values() if is_drawable(value)]


def _draw_band(axes: Axes, cells: dict[float, Cell], colour: str) -> None:
    seeds = [_drawable_seeds(cell) for cell in cells.values()]
    low = [min(values) for values in seeds]
    high = [max(values) for values in seeds]
    axes.fill_between(list(cells), low, high, color=colour, alpha=0.18, linewidth=0)


def _draw_dots(axes: Axes, cells: dict[float, Cell], look: Look) -> None:
    x = []
    y = []
    for place, cell in cells.items():
        seeds = _drawable_seeds(cell)
        x += [place] * len(seeds)
        y += seeds
    style = {"marker": look.marker, "s": 14, "alpha": 0.5, "edgecolors": "none"}
    axes.scatter(x, y, color=look.colour, **style)


def _drawn_values(panels: Sequence[Panel]) -> list[float]:
    """All values of the panels that a logarithmic axis can show."""
    # The line of real images may be below all samples, and belongs on the axis.
    values = _floors(panels)
    for panel in panels:
        for row in panel.cells.values():
            for cell in row.values():
                values += _drawable_seeds(cell) if is_drawable(cell.mean) else []
    return values


def _is_banded(panel: Panel) -> bool:
    """True if seeds are a band; over sigma there are too many places for dots."""
    if panel.over is None:
        return False
    return _most_seeds(panel) >= (FEW_SEEDS if panel.per_nfe else 2)


def _most_seeds(panel: Panel) -> int:
    most = 0
    for row in panel.cells.values():
        most = max([most, *(len(cell.values) for cell in row.values())])
    return most


def _set_log_axes(axes: Axes, panel: Panel, values: Sequence[float]) -> None:
    """Set logarithmic axes with ticks that a person would set.

    Args:
        axes: to set.
        panel: that they show.
        values: of all panels that share the vertical axis.

    """
    from matplotlib import ticker

    axes.set_xscale("log")
    if panel.per_nfe:
        axes.xaxis.set_major_locator(ticker.FixedLocator(list(panel.cells)))
    else:
        axes.xaxis.set_major_locator(ticker.LogLocator())
    axes.xaxis.set_major_formatter(tick_text)
    # Minor ticks would suggest NFEs between the measured ones.
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    log_heights(axes, values)


def bars(panel: Panel, look: dict[str, Look]) -> Markup:
    """One value per run: a bar from zero to the mean, and the seeds as dots."""
    with drawing_style(STYLE):
        return to_svg(bars_drawing(panel, look), describe([panel]))


def bars_drawing(panel: Panel, look: dict[str, Look]) -> Figure:
    """The bars as a figure of matplotlib; see ``bars``."""
    load_matplotlib()
    from matplotlib.figure import Figure

    cells = {name: cell for name, cell in panel.cells[None].items() if math.isfinite(cell.mean)}
    # Long specs are broken, or they would leave no room for the bars.
    labels = ["\n".join(pieces(name)) for name in cells]
    # A bar is as high as the lines of its name.
    height = 0.9 + 0.18 * sum(label.count("\n") + 2 for label in labels)
    with drawing_style(STYLE):
        figure = Figure(figsize=(PANEL, height))
        axes = figure.subplots()
        axes.set_ylim(max(len(cells), 1) - 0.5, -0.5)  # the first at the top, as in the tables
        several = _most_seeds(panel) > 1
        for place, (name, cell) in enumerate(cells.items()):
            # From zero, because a bar shows a value by its length.
            axes.barh(place, cell.mean, height=0.62, alpha=0.8, color=look[name].colour)
            if several:
                seeds = [value for value in cell.values.values() if math.isfinite(value)]
                dots = {"s": 12, "alpha": 0.75, "linewidths": 0, "zorder": 3}
                axes.scatter(seeds, [place] * len(seeds), color=INK, **dots)
        name = axis_label(panel.info.full_title, _BAR_LABEL)
        axes.set(xlabel=name, yticks=range(len(labels)), yticklabels=labels)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(tick_text)
        longest = max((len(line) for line in "\n".join(labels).split("\n")), default=0)
        figure.set_figheight(height + 0.17 * name.count("\n"))
        bottom = 0.5 + 0.17 * name.count("\n")
        set_margins(figure, left=0.2 + LETTER * longest, bottom=bottom, top=0.1)
    return figure


def describe(panels: Sequence[Panel]) -> str:
    """The figure in one sentence per panel, for readers who cannot see it."""
    return " ".join(map(_describe, panels))


def _describe(panel: Panel) -> str:
    places = list(panel.cells)
    first = places[0]
    last = places[-1]
    means = [f"{name} {number(cell.mean)}" for name, cell in panel.cells[last].items()]
    if panel.over is None:
        return f"Bar chart of {panel.heading}: {', '.join(means)}."
    over = "NFE" if panel.per_nfe else panel.over
    real = f" {REAL.capitalize()}: {panel.floor.words}." if panel.floor else ""
    return (
        f"Line chart of {panel.heading} over {over} from {first:g} to {last:g}. Means at {over}"
        f" {last:g}: {', '.join(means)}.{real}"
    )


def caption(panels: Sequence[Panel]) -> str:
    """The meaning of the marks of the figure."""
    most = max(map(_most_seeds, panels))
    bars = panels[0].over is None
    if most == 1:
        seeds = f" (one seed, no {'error bars' if bars else 'spread'})"
    elif any(map(_is_banded, panels)):
        seeds = f"; bands: lowest to highest of up to {most} seeds"
    else:
        seeds = f"; dots: single seeds ({most})"
    if bars:
        return f"Bars: means over seeds{seeds}."
    values = _drawn_values(panels)
    cut = ""
    if span(values) > DECADES:
        cut = " Values below a millionth of the highest one are cut off."
    real = ""
    if _floors(panels):
        real = " Dashed: as many real training images instead of samples."
    return f"Lines: means over seeds{seeds}.{cut}{real}"
