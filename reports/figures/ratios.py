"""The ratio to random pairing over NFE, with its 95 % intervals and names at the ends of lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from reports.figures.drawing import drawing_style, load_matplotlib
from reports.figures.style import (
    BASELINE_INK,
    INK,
    LETTER,
    STYLE,
    Look,
    is_drawable,
    set_margins,
    tick_text,
)
from reports.figures.svg import mark, to_svg
from reports.tables.arms import BASELINE
from reports.tables.changes import ChangeTable, Row, change_of, in_words
from reports.tables.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 4.1  # inches; on a phone letters of 9 points are still legible
_HEIGHT = 3.1
_BANDS = 3  # couplings with intervals up to which each has its band; of more, the first one
_LETTERS = 16  # of a name at the end of a line
_GAP = 10.8  # points between two names
_ROOM = 1.15  # of the axis around the means, as a factor
# Ratios that are labelled, those first that should be whatever the scale
_TICKS = (1, 2, 0.5, 5, 0.2, 10, 0.1, 1.5, 0.7, 3, 0.3, 1.2, 0.8, 1.1, 0.9, 1.05, 0.95)
_LINES = 11  # labels that fit along the vertical axis


def ratio_figure(table: ChangeTable, look: Mapping[str, Look]) -> Markup | None:
    """The figure for a page; None if no comparison has a ratio.

    Random is the line at 1. A large dot is significant. Values near that of real images, where
    ratios mean little, are shaded.

    Args:
        table: the changes.
        look: of the arms, by name.

    """
    if not has_ratios(table):
        return None
    tips = {}
    for place, row in enumerate(table.rows):
        for nfe in _ratios(row):
            tips[mark(place, "point", nfe)] = in_words(table, row, nfe)
    with drawing_style(STYLE):
        return to_svg(ratio_drawing(table, look, quiet=True), describe(table), tips)


def has_ratios(table: ChangeTable) -> bool:
    """True if there is something to draw."""
    return bool(_drawn(table))


def describe(table: ChangeTable) -> str:
    """The figure in a sentence, for readers who cannot see it."""
    parts = []
    for row in _drawn(table):
        sizes = [f"{change_of(row.cells[nfe])} at NFE {nfe}" for nfe in _ratios(row)]
        parts.append(f"{row.label} {', '.join(sizes)}")
    return f"Change of {table.panel.metric} vs {BASELINE}: {'; '.join(parts)}."


def ratio_drawing(
    table: ChangeTable, look: Mapping[str, Look], quiet: bool = False, title: str = ""
) -> Figure:
    """The figure of matplotlib.

    Args:
        table: the changes.
        look: of the arms, by name.
        quiet: draw the bands that the page shows only when asked, too.
        title: above the axes; on a page the caption has it.

    """
    load_matplotlib()
    from matplotlib.figure import Figure

    with drawing_style(STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT))
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        banded = banded_rows(table)
        low, high = _limits(table, banded)
        axes.set_ylim(low, high)
        _shade_floor(axes, table, low)
        axes.axhline(1, color=BASELINE_INK, linewidth=1.4, zorder=1.5)
        for place, row in enumerate(table.rows):
            if row in banded or quiet:
                kind = "band" if row in banded else "band quiet"
                _draw_band(axes, row, look[row.arms[0]].colour, mark(place, kind))
        # The first row last, so that it is on top.
        for place, row in reversed([*enumerate(table.rows)]):
            _draw_line(axes, table, row, place, look[row.arms[0]])
        _set_axes(axes, table, low, high)
        names = _names(table)
        widest = max(map(len, names.values()), default=0)
        axes.set_title(title, fontsize=9, loc="left")
        set_margins(figure, left=0.68, bottom=0.5, top=0.5 if title else 0.12)
        figure.subplots_adjust(right=1 - (0.25 + LETTER * widest) / _WIDTH)
        _label_lines(figure, axes, table, names, look)
    return figure


def banded_rows(table: ChangeTable) -> list[Row]:
    """The rows whose intervals are drawn as bands: all if they are few, else the first."""
    known = [row for row in table.rows if _intervals(row)]
    # Bands of ten couplings would hide the lines.
    return known if len(known) <= _BANDS else known[:1]


def _ratios(row: Row) -> dict[int, float]:
    ratios = {nfe: cell.ratio for nfe, cell in row.cells.items()}
    return {nfe: r for nfe, r in ratios.items() if r is not None and is_drawable(r)}


def _intervals(row: Row) -> dict[int, Interval]:
    found = {nfe: cell.ratio_interval for nfe, cell in row.cells.items()}
    return {nfe: interval for nfe, interval in found.items() if interval}


def _drawn(table: ChangeTable) -> list[Row]:
    return [row for row in table.rows if _ratios(row)]


def _limits(table: ChangeTable, banded: Sequence[Row]) -> tuple[float, float]:
    """Ends of the vertical axis: all means, and intervals as far as they go with twice the room."""
    means = [1.0]
    for row in table.rows:
        means += _ratios(row).values()
    low = min(means)
    high = max(means)
    ends = [low, high]
    for row in banded:
        for interval in _intervals(row).values():
            # A single wide interval must not press all lines together.
            ends += [max(interval.low, low / 2), min(interval.high, high * 2)]
    return min(ends) / _ROOM, max(ends) * _ROOM


def shaded(table: ChangeTable) -> dict[int, float]:
    """NFE to the ratio up to which a value is near that of real images; empty if unknown."""
    floor = table.panel.floor
    # Each random arm has its own scale, so several have no common region.
    if floor is None or len(table.baselines) != 1:
        return {}
    cells = table.baselines[0].cells
    found = {nfe: floor.reach / cell.mean for nfe, cell in cells.items() if is_drawable(cell.mean)}
    found = {nfe: ratio for nfe, ratio in found.items() if is_drawable(ratio)}
    # Far from real images everywhere, as in short runs, there is nothing to see.
    low, _ = _limits(table, banded_rows(table))
    return found if any(ratio > low for ratio in found.values()) else {}


def _shade_floor(axes: Axes, table: ChangeTable, low: float) -> None:
    reach = shaded(table)
    heights = [max(ratio, low) for ratio in reach.values()]
    axes.fill_between([*reach], low, heights, color=INK, alpha=0.1, linewidth=0)


def _draw_band(axes: Axes, row: Row, colour: str, gid: str) -> None:
    intervals = _intervals(row)
    lows = [interval.low for interval in intervals.values()]
    highs = [interval.high for interval in intervals.values()]
    if len(intervals) > 1:
        style = {"color": colour, "alpha": 0.14, "linewidth": 0}
        axes.fill_between([*intervals], lows, highs, gid=gid, **style)
    elif intervals:
        # A band between places needs two of them.
        axes.vlines([*intervals], lows, highs, color=colour, alpha=0.4, linewidth=3, gid=gid)


def _draw_line(axes: Axes, table: ChangeTable, row: Row, place: int, look: Look) -> None:
    ratios = _ratios(row)
    style = {"color": look.colour, "linestyle": look.line, "linewidth": 1.7}
    axes.plot([*ratios], [*ratios.values()], gid=mark(place, "line"), **style)
    for nfe, ratio in ratios.items():
        # Each point by itself, because the page tells its numbers.
        claimed = table.verdict(row.cells[nfe]) != "unclear"
        dot = {"marker": "o", "markersize": 7.5 if claimed else 4.2, "markeredgecolor": "none"}
        axes.plot([nfe], [ratio], color=look.colour, gid=mark(place, "point", nfe), **dot)


def _set_axes(axes: Axes, table: ChangeTable, low: float, high: float) -> None:
    from matplotlib import ticker

    axes.set_ylim(low, high)
    axes.xaxis.set_major_locator(ticker.FixedLocator([*table.nfes]))
    axes.xaxis.set_major_formatter(tick_text)
    axes.yaxis.set_major_locator(ticker.FixedLocator(_ticks(low, high)))
    # As change, because the table has changes; the axis itself is that of the ratio.
    axes.yaxis.set_major_formatter(lambda ratio, _: _change(ratio))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(ticker.NullLocator())
    axes.set_xlabel("network evaluations (NFE, log)")


def _change(ratio: float) -> str:
    return "0" if ratio == 1 else f"{100 * (ratio - 1):+.0f} %".replace("-", "−")


def _ticks(low: float, high: float) -> list[float]:
    """Ratios to label, as many as fit."""
    least = math.log(high / low) / _LINES
    kept: list[float] = []
    for ratio in _TICKS:
        clear = all(abs(math.log(ratio / other)) >= least for other in kept)
        if low <= ratio <= high and clear:
            kept.append(ratio)
    return sorted(kept)


def _names(table: ChangeTable) -> dict[int, str]:
    """Row to the name at the end of its line; that of random is -1."""
    names = {-1: BASELINE}
    for place, row in enumerate(table.rows):
        if not _ratios(row):
            continue
        first, *others = row.label.split(" / ")
        short = f"{first[: _LETTERS - 1]}…" if len(first) > _LETTERS else first
        # All names of equal networks stand in the table.
        names[place] = f"{short} +{len(others)}" if others else short
    return names


def _label_lines(
    figure: Figure,
    axes: Axes,
    table: ChangeTable,
    names: Mapping[int, str],
    look: Mapping[str, Look],
) -> None:
    """Write the names at the ends of the lines, moved apart where they would overlap."""
    ends = {-1: (table.nfes[-1], 1.0)}
    for place in names:
        if place >= 0:
            ends[place] = [*_ratios(table.rows[place]).items()][-1]
    # In points, in which the sizes of letters are known.
    scale = 72 / figure.dpi
    drawn = {place: axes.transData.transform(end) * scale for place, end in ends.items()}
    box = axes.get_window_extent()
    heights = {place: float(y) for place, (_, y) in drawn.items()}
    moved = apart(heights, _GAP, box.y0 * scale, box.y1 * scale)
    right = float(box.x1) * scale
    for place, name in names.items():
        colour = BASELINE_INK if place < 0 else look[table.rows[place].arms[0]].colour
        # From the end of the line to its name, however far that was moved.
        leader: dict[str, Any] = {
            "arrowstyle": "-",
            "relpos": (0, 0.5),
            "gid": mark(place, "leader"),
        }
        leader |= {"color": colour, "linewidth": 0.6, "alpha": 0.6, "shrinkA": 1, "shrinkB": 3}
        axes.annotate(
            name,
            ends[place],
            (right + 9, moved[place]),
            textcoords="figure points",
            va="center",
            color=colour,
            fontsize=9,
            fontweight="bold",
            gid=mark(place, "label"),
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "relpos": (0, 0.5), "gid": mark(place, "leader")}
            | leader,
        )


def apart(heights: Mapping[int, float], gap: float, low: float, high: float) -> dict[int, float]:
    """Heights moved as little as needed to be ``gap`` apart, in their order, within the limits if
    there is room.
    """
    # Blocks of touching labels, from below, and the height of the middle of each.
    blocks: list[tuple[list[int], float]] = []
    for place in sorted(heights, key=lambda one: heights[one]):
        members = [place]
        middle = _middle(members, heights, gap, low, high)
        # A block that reaches into the one below becomes one with it, centred on its members.
        while blocks and middle - blocks[-1][1] < (len(members) + len(blocks[-1][0])) * gap / 2:
            members = blocks.pop()[0] + members
            middle = _middle(members, heights, gap, low, high)
        blocks.append((members, middle))
    found: dict[int, float] = {}
    for members, middle in blocks:
        start = middle - (len(members) - 1) * gap / 2
        found |= {place: start + number * gap for number, place in enumerate(members)}
    return found


def _middle(
    members: Sequence[int], heights: Mapping[int, float], gap: float, low: float, high: float
) -> float:
    """The middle of a block: the mean of its members, moved into the limits."""
    half = (len(members) - 1) * gap / 2
    mean = sum(heights[one] for one in members) / len(members)
    return max(low + half, min(high - half, mean))
