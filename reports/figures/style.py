"""Colours, markers, fonts and axes that all figures share."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from reports.figures.drawing import load_matplotlib
from reports.tables.arms import BASELINE, coupling_of, ordered, variant_of
from reports.text import pieces, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours for all kinds of colour vision, without the yellow that is hard to see on
# white, and two more that differ from these on white and on black.
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C2BEA", "#5BBF21",
)  # fmt: skip
# Couplings of this repository in the order of their colours, so that each has one on all pages
_KNOWN = (
    "knn", "lapjv", "semidiscrete", "sinkhorn", "cached", "hungarian", "minibatch-ot",
    "ott-sinkhorn", "greedy", "stable", "partial", "unbalanced", "conditional-cost",
)  # fmt: skip
_GOLDEN = (math.sqrt(5) - 1) / 2  # steps of this part of a turn never meet on the wheel of hues
MARKERS = ("s", "^", "D", "v", "P", "X", "p")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))

PANEL = 3.9  # inches that one pair of axes is wide in every figure, so that all letters are equal
HEIGHT = 3.0  # inches of a figure with its legend
LEGEND = 0.32  # inches of one row of the legend
LETTER = 0.078  # inches that a letter is wide
LABEL = 26  # letters that fit along the height of a figure
WIDE_LABEL = 46  # and along the width of a pair of axes
SIGMA = "noise level sigma"  # name of its axis
DECADES = 1e6  # a logarithmic axis ends at its largest value over this
_LEGEND_LETTERS = 13.7  # letters of a legend in an inch
_LEGEND_WIDTH = 44  # letters after which a name in a legend is broken
_SAMPLE = 6  # letters that the sample line of a legend's entry takes
# Ticks of a logarithmic axis, the sparsest first
_LADDERS = ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7))
_LEAST_TICKS = 4

# Stand-ins that become the page's own colours, so that figures follow light and dark mode
INK = "#010203"
BASELINE_INK = "#040506"
# Verdana is nearly as wide as DejaVu Sans, with which matplotlib measures the room for text: a
# reader's system may have only one of the two.
FONT = "DejaVu Sans, Verdana, Arial, sans-serif"
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "reports",  # or the same figure would have other bytes each time
    "text.parse_math": False,  # names of couplings may hold a dollar sign
    "font.size": 9,
    "font.family": "sans-serif",
    # No frame: its upper and right lines measure nothing.
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,  # by default lines of the grid cross the bars
}


@dataclass(frozen=True)
class Look:
    """Colour, marker and dash of a coupling, the same in every figure of a report.

    Attributes:
        colour: for figures.
        css: the same for the page.
        marker: as matplotlib names it.
        line: dash, as matplotlib writes it.

    """

    colour: str
    css: str
    marker: str
    line: object = "-"


def looks(couplings: Iterable[str]) -> dict[str, Look]:
    """The look of each arm; no two look the same.

    Its colour is that of its coupling, dark grey for random; dash and marker tell arms of one
    coupling apart, which differ in objective or noise law.
    """
    found = {BASELINE: Look(BASELINE_INK, "var(--baseline, #444)", "o")}
    # All couplings of the report, so that a colour means the same on each of its pages.
    arms = ordered(couplings)
    others = ordered(name for name in map(coupling_of, arms) if name != BASELINE)
    places = _places(others)
    variants = sorted({"", *map(variant_of, arms)})
    for arm in arms:
        name = coupling_of(arm)
        variant = variants.index(variant_of(arm))
        base = _base(places[name]) if name != BASELINE else found[BASELINE]
        found[arm] = _variant(base, variant)
    return found


def level_look() -> Look:
    """The look of a level that all lines are compared with: dashed, because nothing was measured
    along it.
    """
    return Look(BASELINE_INK, "var(--baseline, #444)", "", "--")


def _places(couplings: Sequence[str]) -> dict[str, int]:
    """Coupling to its place in the order of colours: its own if it is known, else a free one."""
    places: dict[str, int] = {}
    for name in couplings:
        base = name.partition(":")[0]
        # The first of several with other options has the colour of the name.
        if base in _KNOWN and _KNOWN.index(base) not in places.values():
            places[name] = _KNOWN.index(base)
    free = [place for place in range(2 * len(couplings)) if place not in places.values()]
    others = [name for name in couplings if name not in places]
    # More places than couplings are free or taken, so zip ends with the couplings.
    return places | dict(zip(others, free, strict=False))


def _base(place: int) -> Look:
    colour = _colour(place)
    dash = DASHES[place // len(PALETTE) % len(DASHES)]
    return Look(colour, colour, MARKERS[place % len(MARKERS)], dash)


def _variant(look: Look, number: int) -> Look:
    """Another dash and marker for each variant of a coupling; the first keeps its own."""
    # A report without variants must look as it always did.
    if not number:
        return look
    # Markers come before the dashes to an end, and both together not before 28 variants.
    marks = ("o", *MARKERS)
    marker = marks[(marks.index(look.marker) + number) % len(marks)]
    dash = DASHES[(DASHES.index(look.line) + number) % len(DASHES)]
    return replace(look, marker=marker, line=dash)


def _colour(place: int) -> str:
    """The colour of a place in the order: the palette first, then hues of equal lightness."""
    if place < len(PALETTE):
        return PALETTE[place]
    # seaborn imports matplotlib, which must not read the user's settings.
    load_matplotlib()
    import seaborn as sns

    hue = (place - len(PALETTE)) * _GOLDEN % 1
    (colour,) = sns.husl_palette(1, h=hue, s=0.9, l=0.6).as_hex()
    return colour


def log_heights(axes: Axes, values: Sequence[float]) -> None:
    """Set a logarithmic vertical axis for these values, all above zero."""
    from matplotlib import ticker

    # The scale first: it sets limits that the ticks are chosen for.
    axes.set_yscale("log")
    if span(values) > DECADES:
        # A value of 1e-280 would press all others into one line.
        axes.set_ylim(max(values) / DECADES, 3 * max(values))
    low, high = axes.get_ylim()
    locator = ticker.MaxNLocator(7, steps=[1, 2, 5, 10])
    # The sparsest ladder with enough ticks; on a short axis even powers of ten may be none.
    for ladder in _LADDERS:
        if _ticks_between(ladder, low, high) >= _LEAST_TICKS:
            # Without numticks, matplotlib thins out the ticks that were just counted.
            locator = ticker.LogLocator(subs=ladder, numticks=20)
            break
    axes.yaxis.set_major_locator(locator)
    axes.yaxis.set_major_formatter(tick_text)
    # On an axis of less than a decade matplotlib labels minor ticks, which overlap with these.
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def _ticks_between(subs: Sequence[float], low: float, high: float) -> int:
    """Number of ticks at these multiples of powers of ten on an axis; none on one without
    heights.
    """
    if not 0 < low < high < math.inf:
        return 0
    count = 0
    for decade in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        count += sum(low <= sub * 10.0**decade <= high for sub in subs)
    return count


def span(values: Sequence[float]) -> float:
    """Largest value over smallest; 1 without values."""
    return max(values) / min(values) if values else 1.0


def set_margins(figure: Figure, left: float, bottom: float, top: float) -> None:
    """Set the room around the axes, in inches.

    By hand, because matplotlib's layout engines draw every figure twice to find it.
    """
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=left / width,
        bottom=bottom / height,
        right=1 - 0.12 / width,
        top=1 - top / height,
        wspace=0.08,  # little, because panels side by side share their vertical axis
    )


def set_legend(figure: Figure, names: Sequence[str], look: dict[str, Look]) -> float:
    """Set a legend at the top and return its height in inches."""
    from matplotlib.lines import Line2D

    lines = []
    # Lines of the legend's own, because axes draw one coupling in several sizes.
    for name in names:
        style = line_style(look[name], size=5.5, width=1.6)
        lines.append(Line2D([], [], **style))
    labels = ["\n".join(pieces(name, _LEGEND_WIDTH)) for name in names]
    columns = _columns(labels, int(_LEGEND_LETTERS * figure.get_figwidth()))
    figure.legend(
        lines,
        labels,
        loc="upper left",
        ncols=columns,
        frameon=False,
        handlelength=1.8,
        columnspacing=1.4,
    )
    rows = math.ceil(len(names) / columns)
    tallest = max(label.count("\n") + 1 for label in labels)
    return 0.12 + rows * (0.14 * tallest + 0.06)


def _columns(labels: Sequence[str], letters: int) -> int:
    """Number of columns of a legend that is so many letters wide."""
    longest = max(len(line) for line in "\n".join(labels).split("\n"))
    most = max(1, min(len(labels), letters // (longest + _SAMPLE)))
    rows = math.ceil(len(labels) / most)
    return math.ceil(len(labels) / rows)  # so that all rows are equally long


def line_style(look: Look, size: float, width: float) -> dict[str, Any]:
    """A look as keywords of matplotlib, with the size of markers and the width of lines in
    points.
    """
    return {
        "color": look.colour,
        "marker": look.marker,
        "linestyle": look.line,
        "markersize": size,
        "markeredgecolor": "none",
        "linewidth": width,
    }


def axis_label(words: str, width: int, log: bool = False) -> str:
    """A name in lines of at most so many letters; a logarithmic axis says so.

    Lines break between words, and within a word that is too long after ``_``.
    """
    text = f"{words} (log)" if log else words
    if log and not words:
        text = "log scale"
    lines = []
    for line in textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False):
        parts = re.findall(rf"[^_]{{1,{width}}}_*|_+", line)
        lines += wrapped(parts, width)
    return "\n".join(lines)


def tick_text(value: float, position: int | None = None) -> str:
    """``2,000`` and ``1e-6``, which the usual form writes as 2e+03 and 1e-06."""
    if 1e3 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.4g}")


def is_drawable(value: float) -> bool:
    """True for a value that a logarithmic axis can show: neither zero nor nan."""
    return math.isfinite(value) and value > 0
