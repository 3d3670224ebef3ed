"""Colours, markers, fonts and axes that all figures share."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.tables.statistics import BASELINE, ordered
from reports.text import pieces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
    "#8C2BEA", "#5BBF21", "#D9004F", "#E81BBA", "#7F8F18", "#3D63F5", "#906030",
)  # fmt: skip
"""Okabe and Ito's colours for all kinds of colour vision, without the yellow that white paper
swallows; then seven more that keep their distance from these on white and on black, so that every
coupling of the registry has its own.
"""
MARKERS = ("s", "^", "D", "v", "P", "X", "p")
LEGEND = 0.32  # inches high, of one row
_LETTER = 0.078  # inches, of the width of a letter
_LINE = 26  # letters of a label along the height of a figure
DECADES = 1e6  # a logarithmic axis reaches no further down from its largest value
# Ticks of a logarithmic axis, the sparsest first
_LADDERS = ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7))
_LEAST_TICKS = 4
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
    """How one coupling is drawn, in every figure of a report. ``colour`` is for the figures,
    ``css`` for the page.
    """

    colour: str
    css: str
    marker: str
    line: object = "-"


def looks(couplings: Iterable[str]) -> dict[str, Look]:
    """Colour and marker of each coupling; random is dark grey, and no two of the registry share a
    colour.
    """
    found = {}
    others = [coupling for coupling in ordered(couplings) if coupling != BASELINE]
    for i, coupling in enumerate(others):
        colour = PALETTE[i % len(PALETTE)]
        found[coupling] = Look(colour, colour, MARKERS[i % len(MARKERS)])
    return {BASELINE: Look(_BASELINE_INK, "var(--baseline, #444)", "o")} | found


def _log_heights(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic vertical axis for these values, all above zero."""
    from matplotlib import ticker

    axes.set_yscale("log")
    span = _span(values)
    if span > DECADES:  # a variance of 1e-280 would press all that matters into a line
        span = DECADES
        axes.set_ylim(max(values) / span, 3 * max(values))
    low, high = axes.get_ylim()
    ladder = next(
        (subs for subs in _LADDERS if _ticks_between(subs, low, high) >= _LEAST_TICKS), None
    )
    axes.yaxis.set_major_locator(
        ticker.MaxNLocator(7, steps=[1, 2, 5, 10])
        if ladder is None
        else ticker.LogLocator(subs=ladder, numticks=20)
    )
    axes.yaxis.set_major_formatter(_plain)
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def _ticks_between(subs: Sequence[float], low: float, high: float) -> int:
    """How many ticks at these multiples of powers of ten lie on an axis; none on one without
    heights.
    """
    if not 0 < low < high < math.inf:
        return 0
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return sum(low <= sub * 10.0**decade <= high for decade in decades for sub in subs)


def _span(values: Sequence[float]) -> float:
    return max(values) / min(values) if values else 1.0


def _margins(figure: Figure, left: float, bottom: float, top: float) -> None:
    """Room round the axes, in inches; matplotlib's own layout engines would draw every figure twice
    to find it.
    """
    width, height = figure.get_size_inches()
    side_by_side = {"wspace": 0.08}  # they share the labels of the vertical axis
    figure.subplots_adjust(
        left / width, bottom / height, 1 - 0.12 / width, 1 - top / height, **side_by_side
    )


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
    figure.legend(
        lines,
        labels,
        loc="upper left",
        ncols=columns,
        frameon=False,
        handlelength=1.8,
        columnspacing=1.4,
    )
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
