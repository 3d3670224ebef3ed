"""Figures as inline SVG: text stays text, and the page's own colours reach the axes in light and
dark.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.figures.drawing import drawing_style, load_matplotlib
from reports.figures.style import (
    _INK,
    _LETTER,
    _LINE,
    _STYLE,
    DECADES,
    LEGEND,
    Look,
    _drawable,
    _legend,
    _log_heights,
    _margins,
    _plain,
    _span,
)
from reports.figures.svg import _svg
from reports.tables.groups import Panel
from reports.tables.statistics import ordered
from reports.text import number, pieces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


PANEL, HEIGHT = 3.9, 3.0
"""Inches that one pair of axes is wide, in every figure, so that letters are of one size, and high
with its legend.
"""

FEW_SEEDS = 5  # over NFE below this the seeds are dots, from here on a band


def curve(panels: Sequence[Panel], look: dict[str, Look]) -> Markup:
    """Metric against NFE or sigma, both logarithmic: lines through the means, seeds as dots or,
    from 5 on, a band.

    Panels that differ in rho stand side by side on one scale.
    """
    with drawing_style(_STYLE):
        return _svg(curve_drawing(panels, look), describe(panels))


def curve_drawing(panels: Sequence[Panel], look: dict[str, Look]) -> Figure:
    """The curves as a figure of matplotlib; see ``curve``."""
    load_matplotlib()
    from matplotlib.figure import Figure

    arms = ordered(arm for panel in panels for row in panel.cells.values() for arm in row)
    with drawing_style(_STYLE):
        figure = Figure(figsize=(PANEL * len(panels), HEIGHT))
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        values = [value for panel in panels for value in _drawn_values(panel)]
        for panel, ax in zip(panels, axes, strict=True):
            _draw(ax, panel, look)
            _log_axes(ax, panel, values)
            ax.set(xlabel="NFE" if panel.per_nfe else panel.over)
            if len(panels) > 1:
                ax.set_title(panel.schedule, fontsize=9)
        axes[0].set(ylabel=_label(panels[0].metric))
        legend = _legend(figure, arms, look)
        # More rows than one must not press the axes together
        figure.set_figheight(HEIGHT + max(0.0, legend - LEGEND))
        _margins(
            figure, left=_left(axes[0]), bottom=0.5, top=legend + (0.3 if len(panels) > 1 else 0.12)
        )
    return figure


def _label(metric: str) -> str:
    """A name that fits along the height of a figure, in lines that break behind ``_`` where it can."""
    parts = re.findall(rf"[^_]{{1,{_LINE}}}_*|_+", metric)
    lines = parts[:1]
    for part in parts[1:]:
        if len(lines[-1] + part) <= _LINE:
            lines[-1] += part
        else:
            lines.append(part)
    return "\n".join(lines)


def _left(axes: Axes) -> float:
    """Inches that the ticks and the label of the vertical axis need."""
    low, high = axes.get_ylim()
    ticks = [_plain(tick) for tick in axes.yaxis.get_majorticklocs() if low <= tick <= high]
    letters = max(map(len, ticks), default=0)
    return max(0.88, 0.15 + _LETTER * letters + 0.2 * (1 + axes.get_ylabel().count("\n")) + 0.1)


def _draw(axes: Axes, panel: Panel, look: dict[str, Look]) -> None:
    """Lines through the means, and the seeds: dots over NFE while there are few of them, else a
    band.
    """
    for arm in ordered(arm for row in panel.cells.values() for arm in row):
        cells = {
            place: row[arm]
            for place, row in panel.cells.items()
            if arm in row and _drawable(row[arm].mean)
        }
        colour, marker = look[arm].colour, look[arm].marker
        values = {
            place: [v for v in cell.values.values() if _drawable(v)]
            for place, cell in cells.items()
        }
        axes.plot(list(cells), [cell.mean for cell in cells.values()], color=colour, marker=marker, linewidth=1.6,
                  markersize=5.5 if panel.per_nfe else 3, markeredgecolor="none")  # fmt: skip
        if _banded(panel):
            low, high = [min(v) for v in values.values()], [max(v) for v in values.values()]
            axes.fill_between(list(values), low, high, color=colour, alpha=0.18, linewidth=0)
        elif panel.per_nfe and _most_seeds(panel) > 1:
            dots = [(place, value) for place, found in values.items() for value in found]
            axes.scatter(*zip(*dots, strict=True) if dots else ([], []), color=colour, marker=marker, s=14, alpha=0.5,
                         edgecolors="none")  # fmt: skip


def _drawn_values(panel: Panel) -> list[float]:
    cells = (cell for row in panel.cells.values() for cell in row.values())
    return [
        value
        for cell in cells
        if _drawable(cell.mean)
        for value in cell.values.values()
        if _drawable(value)
    ]


def _banded(panel: Panel) -> bool:
    """Over sigma there are too many places for dots."""
    return panel.over is not None and _most_seeds(panel) >= (FEW_SEEDS if panel.per_nfe else 2)


def _most_seeds(panel: Panel) -> int:
    return max(len(cell.values) for row in panel.cells.values() for cell in row.values())


def bars(panel: Panel, look: dict[str, Look]) -> Markup:
    """One value an arm: a bar at the mean, from zero, and the seeds as dots."""
    load_matplotlib()
    import pandas as pd
    import seaborn as sns
    from matplotlib.figure import Figure

    arms = [arm for arm, cell in panel.cells[None].items() if math.isfinite(cell.mean)]
    points = [
        {"coupling": arm, "value": v}
        for arm in arms
        for v in panel.cells[None][arm].values.values()
    ]
    frame = pd.DataFrame(points, columns=["coupling", "value"])
    labels = ["\n".join(pieces(arm)) for arm in arms]
    height = 0.9 + 0.18 * sum(label.count("\n") + 2 for label in labels)
    with drawing_style(_STYLE):
        figure = Figure(figsize=(PANEL, height))
        axes = figure.subplots()
        palette = {arm: look[arm].colour for arm in arms}
        common = {
            "y": "coupling",
            "x": "value",
            "order": arms,
            "orient": "h",
            "ax": axes,
            "legend": False,
        }
        if arms:
            sns.barplot(frame, hue="coupling", hue_order=arms, palette=palette, errorbar=None, width=0.62, alpha=0.8,
                        **common)  # fmt: skip
        if frame["coupling"].duplicated().any():
            sns.stripplot(frame, color=_INK, size=3.5, alpha=0.75, jitter=False, **common)
        axes.set(xlabel=panel.metric, ylabel="", yticks=range(len(arms)), yticklabels=labels)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(_plain)
        longest = max((len(line) for label in labels for line in label.split("\n")), default=0)
        _margins(figure, left=0.2 + _LETTER * longest, bottom=0.5, top=0.1)
        return _svg(figure, describe([panel]))


def describe(panels: Sequence[Panel]) -> str:
    """The figure in a sentence a panel, for who cannot see it."""
    return " ".join(map(_describe, panels))


def _describe(panel: Panel) -> str:
    cells = panel.cells
    places = list(cells)
    values = ", ".join(f"{arm} {number(cell.mean)}" for arm, cell in cells[places[-1]].items())
    if panel.over is None:
        return f"Bar chart of {panel.title}: {values}."
    over, first, last = "NFE" if panel.per_nfe else panel.over, f"{places[0]:g}", f"{places[-1]:g}"
    return (
        f"Line chart of {panel.title} against {over} from {first} to {last}. Means at {over}"
        f" {last}: {values}."
    )


def caption(panels: Sequence[Panel]) -> str:
    """What the marks of the figure stand for."""
    most, panel = max(map(_most_seeds, panels)), panels[0]
    mean = (
        "Bars end at the means over seeds"
        if panel.over is None
        else "Lines join the means over seeds"
    )
    if most == 1:
        seeds = "; with one seed an arm, so nothing shows how far chance moves them"
    elif any(map(_banded, panels)):
        seeds = f"; bands reach from the lowest to the highest of up to {most} seeds"
    else:
        seeds = f"; dots are the single seeds ({most})"
    if panel.over is None:
        return f"{mean}{seeds}. The axis begins at 0."
    values = [value for panel in panels for value in _drawn_values(panel)]
    cut = (
        " What is below a millionth of the highest value is cut off."
        if _span(values) > DECADES
        else ""
    )
    return f"{mean}{seeds}. Both axes are logarithmic.{cut}"


def _log_axes(axes: Axes, panel: Panel, values: Sequence[float]) -> None:
    """Logarithmic axes with ticks that a person would set; ``values``: all that share the vertical
    axis.
    """
    from matplotlib import ticker

    axes.set_xscale("log")
    if panel.per_nfe:
        axes.xaxis.set_major_locator(ticker.FixedLocator(list(panel.cells)))
    else:
        axes.xaxis.set_major_locator(ticker.LogLocator())
    axes.xaxis.set_major_formatter(_plain)
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    _log_heights(axes, values)
