"""Figures as inline SVG: text stays text, and the page's own colours reach the axes in light and dark."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from reports.drawing import drawing_style, load_matplotlib
from reports.statistics import BASELINE, ordered
from reports.tables import Panel
from reports.words import number, pieces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
    "#8C2BEA", "#5BBF21", "#D9004F", "#E81BBA", "#7F8F18", "#3D63F5", "#906030",
)  # fmt: skip
"""Okabe and Ito's colours for all kinds of colour vision, without the yellow that white paper swallows; then seven more
that keep their distance from these on white and on black, so that every coupling of the registry has its own."""
MARKERS = ("s", "^", "D", "v", "P", "X", "p")

PANEL, HEIGHT = 3.9, 3.0
"""Inches that one pair of axes is wide, in every figure, so that letters are of one size, and high with its legend."""

LEGEND = 0.32  # inches high, of one row
_LETTER = 0.078  # inches, of the width of a letter
_LINE = 26  # letters of a label along the height of a figure
DECADES = 1e6  # a logarithmic axis reaches no further down from its largest value
_LADDERS = ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7))  # ticks of a logarithmic axis, the sparsest first
_LEAST_TICKS = 4
FEW_SEEDS = 5  # over NFE below this the seeds are dots, from here on a band

_INK, _BASELINE_INK = "#010203", "#040506"  # stand-ins that become the page's colours
_FONT = "DejaVu Sans, Verdana, Arial, sans-serif"
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "reports", "text.parse_math": False, "font.size": 9,
    "font.family": "sans-serif", "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7,
    "axes.edgecolor": _INK, "axes.labelcolor": _INK, "text.color": _INK, "xtick.color": _INK,
    "ytick.color": _INK, "axes.grid": True, "grid.color": _INK, "grid.alpha": 0.13, "grid.linewidth": 0.6,
    "axes.axisbelow": True,
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How one coupling is drawn, in every figure of a report. ``colour`` is for the figures, ``css`` for the page."""

    colour: str
    css: str
    marker: str
    line: object = "-"


def looks(couplings: Iterable[str]) -> dict[str, Look]:
    """Colour and marker of each coupling; random is dark grey, and no two of the registry share a colour."""
    found = {}
    others = [coupling for coupling in ordered(couplings) if coupling != BASELINE]
    for i, coupling in enumerate(others):
        colour = PALETTE[i % len(PALETTE)]
        found[coupling] = Look(colour, colour, MARKERS[i % len(MARKERS)])
    return {BASELINE: Look(_BASELINE_INK, "var(--baseline, #444)", "o")} | found


def curve(panels: Sequence[Panel], look: dict[str, Look]) -> Markup:
    """Metric against NFE or sigma, both logarithmic: lines through the means, seeds as dots or, from 5 on, a band.

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
        figure.set_figheight(HEIGHT + max(0.0, legend - LEGEND))  # more rows than one must not press the axes together
        _margins(figure, left=_left(axes[0]), bottom=0.5, top=legend + (0.3 if len(panels) > 1 else 0.12))
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
    """Lines through the means, and the seeds: dots over NFE while there are few of them, else a band."""
    for arm in ordered(arm for row in panel.cells.values() for arm in row):
        cells = {place: row[arm] for place, row in panel.cells.items() if arm in row and _drawable(row[arm].mean)}
        colour, marker = look[arm].colour, look[arm].marker
        values = {place: [v for v in cell.values.values() if _drawable(v)] for place, cell in cells.items()}
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
    return [value for cell in cells if _drawable(cell.mean) for value in cell.values.values() if _drawable(value)]


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
    points = [{"coupling": arm, "value": v} for arm in arms for v in panel.cells[None][arm].values.values()]
    frame = pd.DataFrame(points, columns=["coupling", "value"])
    labels = ["\n".join(pieces(arm)) for arm in arms]
    height = 0.9 + 0.18 * sum(label.count("\n") + 2 for label in labels)
    with drawing_style(_STYLE):
        figure = Figure(figsize=(PANEL, height))
        axes = figure.subplots()
        palette = {arm: look[arm].colour for arm in arms}
        common = {"y": "coupling", "x": "value", "order": arms, "orient": "h", "ax": axes, "legend": False}
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
    return f"Line chart of {panel.title} against {over} from {first} to {last}. Means at {over} {last}: {values}."


def caption(panels: Sequence[Panel]) -> str:
    """What the marks of the figure stand for."""
    most, panel = max(map(_most_seeds, panels)), panels[0]
    mean = "Bars end at the means over seeds" if panel.over is None else "Lines join the means over seeds"
    if most == 1:
        seeds = "; with one seed an arm, so nothing shows how far chance moves them"
    elif any(map(_banded, panels)):
        seeds = f"; bands reach from the lowest to the highest of up to {most} seeds"
    else:
        seeds = f"; dots are the single seeds ({most})"
    if panel.over is None:
        return f"{mean}{seeds}. The axis begins at 0."
    values = [value for panel in panels for value in _drawn_values(panel)]
    cut = " What is below a millionth of the highest value is cut off." if _span(values) > DECADES else ""
    return f"{mean}{seeds}. Both axes are logarithmic.{cut}"


def _log_axes(axes: Axes, panel: Panel, values: Sequence[float]) -> None:
    """Logarithmic axes with ticks that a person would set; ``values``: all that share the vertical axis."""
    from matplotlib import ticker

    axes.set_xscale("log")
    if panel.per_nfe:
        axes.xaxis.set_major_locator(ticker.FixedLocator(list(panel.cells)))
    else:
        axes.xaxis.set_major_locator(ticker.LogLocator())
    axes.xaxis.set_major_formatter(_plain)
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    _log_heights(axes, values)


def _log_heights(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic vertical axis for these values, all above zero."""
    from matplotlib import ticker

    axes.set_yscale("log")
    span = _span(values)
    if span > DECADES:  # a variance of 1e-280 would press all that matters into a line
        span = DECADES
        axes.set_ylim(max(values) / span, 3 * max(values))
    low, high = axes.get_ylim()
    ladder = next((subs for subs in _LADDERS if _ticks_between(subs, low, high) >= _LEAST_TICKS), None)
    axes.yaxis.set_major_locator(
        ticker.MaxNLocator(7, steps=[1, 2, 5, 10]) if ladder is None else ticker.LogLocator(subs=ladder, numticks=20)
    )
    axes.yaxis.set_major_formatter(_plain)
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def _ticks_between(subs: Sequence[float], low: float, high: float) -> int:
    """How many ticks at these multiples of powers of ten lie on an axis; none on one without heights."""
    if not 0 < low < high < math.inf:
        return 0
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return sum(low <= sub * 10.0**decade <= high for decade in decades for sub in subs)


def _span(values: Sequence[float]) -> float:
    return max(values) / min(values) if values else 1.0


def _margins(figure: Figure, left: float, bottom: float, top: float) -> None:
    """Room round the axes, in inches; matplotlib's own layout engines would draw every figure twice to find it."""
    width, height = figure.get_size_inches()
    side_by_side = {"wspace": 0.08}  # they share the labels of the vertical axis
    figure.subplots_adjust(left / width, bottom / height, 1 - 0.12 / width, 1 - top / height, **side_by_side)


def _legend(figure: Figure, arms: Sequence[str], look: dict[str, Look]) -> float:
    """Set the legend at the top; its height in inches."""
    from matplotlib.lines import Line2D

    lines = [
        Line2D(
            [],
            [],
            color=look[arm].colour,
            marker=look[arm].marker,
            linestyle=look[arm].line,
            markersize=5.5,
            markeredgecolor="none",
            linewidth=1.6,
        )
        for arm in arms
    ]
    labels = ["\n".join(pieces(arm, 44)) for arm in arms]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    letters = int(13.7 * figure.get_figwidth())
    columns = max(1, min(len(arms), letters // (longest + 6)))
    columns = math.ceil(len(arms) / math.ceil(len(arms) / columns))  # rows of one length
    figure.legend(lines, labels, loc="upper left", ncols=columns, frameon=False, handlelength=1.8, columnspacing=1.4)
    rows, tallest = math.ceil(len(arms) / columns), max(label.count("\n") + 1 for label in labels)
    return 0.12 + rows * (0.14 * tallest + 0.06)


def _plain(value: float, position: int | None = None) -> str:
    """``2,000`` and ``1e-6`` where the usual form is 2e+05 and 1e-06."""
    if 1e3 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.4g}")


def _drawable(value: float) -> bool:
    """A logarithmic axis has no place for zero, and no axis one for nan."""
    return math.isfinite(value) and value > 0


def _svg(figure: Figure, title: str) -> Markup:
    """The figure as an <svg> element without prolog, foreign names or ids that another figure could share."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    opening, body = _lean(text).split(">", 1)
    box = re.search(r'viewBox="[^"]*"', opening).group()
    style = f'style="--inches: {figure.get_figwidth():g}"'
    text = f'<svg {box} {style} role="img" aria-label="{escape(title)}" font-family="{_FONT}">{body}'
    text = (
        text.replace("xlink:href", "href").replace(_INK, "currentColor").replace(_BASELINE_INK, "var(--baseline, #444)")
    )
    return Markup(re.sub(r"\n\s*", "\n", text))


def _lean(svg: str) -> str:
    """The same picture in half the bytes: places to a hundredth of a point, and nothing said twice."""
    svg = re.sub(r"font-family: [^;\"]*; ", "", svg)  # the same on every text; now on the whole
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = svg.replace("; stroke: #000000; stroke-opacity: 0; stroke-linejoin: miter", "")
    return re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda place: _LONG.sub(r"\1", place.group()), svg)


_LONG = re.compile(r"(\.\d\d)\d+")
