"""The page of the solver benchmark: ``solve.csv`` to a self-contained ``solve.html``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from bench.record import write_bytes
from reports import text
from reports.figures import style
from reports.figures.drawing import drawing_style, load_matplotlib
from reports.figures.gain import Point, gain_over_time
from reports.figures.style import INK, STYLE, Look, line_style, tick_text
from reports.figures.svg import Figure, to_svg
from reports.files import html
from reports.tables.arms import ordered
from reports.tables.runs import ReportError, flatten
from reports.tables.solver import OPTIMAL, Row, Size, by_size, in_order, read, sizes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEW_ROUNDS = 3  # with fewer, one slow round moves the median
_FEW_POINTS = 2
_PEER_MARKERS = ("<", "d", "*")  # none that a coupling has
_PEER_DASHES = ((0, (6, 2)), (0, (6, 2, 1.5, 2)), (0, (3, 2)))
_DOTS = (0, (1, 1.5))
_LEGEND_WIDTH = 30  # letters of a line of the legend


@dataclass(frozen=True)
class Plot:
    """One figure: a value of every row over n.

    Attributes:
        title: above it.
        label: of the vertical axis.
        field: of the rows.
        log: True for a logarithmic vertical axis.
        about: the meaning of the value.

    """

    title: str
    label: str
    field: str
    log: bool
    about: str

    def shows(self, row: Row) -> bool:
        """True if the figure has a place for a row; a logarithmic axis has none for zero."""
        value = getattr(row, self.field)
        return value is not None and math.isfinite(value) and (value > 0 or not self.log)

    def lines(self, rows: Sequence[Row]) -> dict[str, list[Row]]:
        """Contender to the rows that the figure shows."""
        lines: dict[str, list[Row]] = {}
        for row in rows:
            if self.shows(row):
                lines.setdefault(row.contender, []).append(row)
        return lines


PLOTS = (
    Plot(
        title="Time of a solve",
        label="time, ms",
        field="median_ms",
        log=True,
        about="Median over the rounds, cost matrix included.",
    ),
    Plot(
        title="Peak memory of a solve",
        label="memory, MB",
        field="peak_mb",
        log=True,
        about="Peak of one solve in its own process, without the pool.",
    ),
    Plot(
        title="Gain",
        label="gain",
        field="gain",
        log=False,
        about=(
            "Share of the possible saving in squared distance, mean over the rounds: 0 is the"
            " average of random pairs, 1 the optimum. Only a pairing that repeats noise samples can"
            " exceed 1."
        ),
    ),
)


def build(csv: Path) -> Path:
    """Write the page next to the table and return its path; the same files give the same bytes.

    Raises:
        ReportError: the table is missing or not one of ``bench.solve``, or the page cannot be
            written.

    """
    source = csv.with_suffix(".json")
    page = render(read(csv), _provenance(source), csv.name, source.name)
    path = csv.with_suffix(".html")
    try:
        write_bytes(path, page.encode())
    except OSError as error:
        raise ReportError(
            f"cannot write {path} ({error.strerror}): copy {csv.name} to a folder of yours"
        ) from None
    return path


def render(rows: Sequence[Row], provenance: dict[str, object], csv_name: str, source: str) -> str:
    """The whole page as HTML."""
    environment = html.environment()
    environment.filters["number"] = _number
    environment.filters["percent"] = _percent
    environment.filters["fixed"] = _fixed
    rows = in_order(rows)
    look = looks(rows)
    sizes = by_size(rows)
    return environment.get_template("solver.html").render(
        data=sorted({row.data for row in rows}),
        dimensions=sorted({row.d for row in rows if row.d}),
        warnings=warnings(sizes),
        findings=[finding(size) for size in sizes],
        optimal=OPTIMAL,
        floor=floor(rows),
        figures=_figures(rows, sizes, look),
        sizes=sizes,
        look=look,
        provenance=provenance,
        source=source,
        csv=csv_name,
    )


def _number(value: float | None) -> str:
    return text.MISSING if value is None else text.number(value)


def _percent(value: float | None) -> str:
    return text.MISSING if value is None else text.percent(value)


def _fixed(value: float | None) -> str:
    return text.MISSING if value is None else f"{value:.4f}"


def looks(rows: Sequence[Row]) -> dict[str, Look]:
    """Couplings look as in reports; peers and the floor have the colour of the text."""
    found = style.looks(row.contender for row in rows if row.kind == "coupling")
    ink = (INK, "currentColor")
    peers = ordered(row.contender for row in rows if row.kind == "peer")
    for place, name in enumerate(peers):
        # Peers have no colours of their own, so that couplings stand out.
        look = place % len(_PEER_MARKERS)
        found[name] = Look(*ink, _PEER_MARKERS[look], _PEER_DASHES[look])
    for row in rows:
        if row.kind == "floor":
            found[row.contender] = Look(*ink, "", _DOTS)
    return found


def finding(size: Size) -> str:
    """The fastest coupling that reaches the optimum at this size, and the times of other libraries
    compared with it.
    """
    # Only optimal pairings compete: a faster but worse one answers another question.
    exact = [row for row in size.of_kind("coupling") if row.is_optimal]
    if not exact:
        return f"n = {size.n}: no coupling is known to reach the optimum."
    best = min(exact, key=lambda row: row.median_ms)  # a mean would follow one slow round
    compared = ""
    for row in size.of_kind("peer"):
        ratio = row.median_ms / best.median_ms
        times = f"{ratio:.1f}x slower" if ratio >= 1 else f"{1 / ratio:.1f}x faster"
        short = "" if row.converged else " (stopped short of the optimum)"
        compared += f"; {times}: {row.contender}{short}"
    return f"n = {size.n}: {best.contender}, {text.number(best.median_ms)} ms{compared}."


def floor(rows: Sequence[Row]) -> str:
    """The time of the product of images and noise samples, at the largest size where it was
    measured.
    """
    measured = [row for row in rows if row.kind == "floor" and row.median_ms and row.d]
    if not measured:
        return ""
    row = max(measured, key=lambda row: row.n)
    # A multiplication and an addition for each value of each pair
    operations = 2 * row.n**2 * row.d
    speed = text.number(operations / row.median_ms / 1e6)
    return (
        f"The floor: the float32 product of {row.n:,} images with {row.n:,} noise samples is 2 n² d"
        f" = {text.number(operations / 1e9)} billion operations. It takes"
        f" {text.number(row.median_ms)} ms here ({speed} GFLOP/s). Comparing every image with every"
        " noise sample needs at least about as long."
    )


def warnings(sizes: Sequence[Size]) -> list[str]:
    """Lines to read before believing a number."""
    lines = ["Compare times and memory within this page only: other machines will differ."]
    for size in sizes:
        failed = [row.contender for row in size.rows if row.converged is False]
        few = [row.contender for row in size.rows if 0 < row.rounds < _FEW_ROUNDS]
        empty = [row.contender for row in size.rows if not row.rounds]
        for names, words in (
            (failed, "did not converge"),
            (few, f"with fewer than {_FEW_ROUNDS} rounds"),
            (empty, "without numbers (the note in the table says why)"),
        ):
            if names:
                lines.append(f"n = {size.n}, {words}: {text.join(names)}.")
    return lines


def _figures(rows: Sequence[Row], sizes: Sequence[Size], look: dict[str, Look]) -> list[Figure]:
    """Values over the pool size, then the gain over time at each size that has both."""
    over_sizes = [_figure(plot, rows, look) for plot in PLOTS if plot.lines(rows)]
    over_time = []
    for size in sizes:
        points = [
            Point(row.contender, row.median_ms, row.gain)
            for row in size.rows
            if row.median_ms and row.gain is not None
        ]
        # One point or two are no curve: the table says it all.
        if len(points) > _FEW_POINTS:
            over_time.append(gain_over_time(size.n, points, look))
    return over_sizes + over_time


def _figure(plot: Plot, rows: Sequence[Row], look: dict[str, Look]) -> Figure:
    caption = (
        f"{plot.about} Dashed: other libraries. Dotted: the floor, a matrix product. Ring: not"
        " converged."
    )
    return Figure(plot.title, draw(plot, rows, look), caption)


def draw(plot: Plot, rows: Sequence[Row], look: dict[str, Look]) -> Markup:
    """A value against the pool size, n logarithmic: one line per contender, a ring if it did not
    converge.
    """
    load_matplotlib()
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

    with drawing_style(STYLE):
        figure = Canvas(figsize=(6.2, 4.6), layout="constrained")
        axes = figure.subplots()
        handles = []
        for name, line in plot.lines(rows).items():
            drawn = line_style(look[name], size=5.5, width=1.5)
            axes.plot([row.n for row in line], [getattr(row, plot.field) for row in line], **drawn)
            label = "\n".join(text.pieces(name, _LEGEND_WIDTH))
            handles.append(Line2D([], [], label=label, **drawn))
            failed = [row for row in line if row.converged is False]  # None means unknown
            heights = [getattr(row, plot.field) for row in failed]
            ring = {"s": 100, "facecolors": "none", "edgecolors": look[name].colour}
            axes.scatter([row.n for row in failed], heights, **ring)
        _set_axes(axes, plot, sizes_of(rows))
        place = {"loc": "outside upper left", "ncols": 2, "handlelength": 2.6}
        figure.legend(handles=handles, frameon=False, **place)
        return to_svg(figure, describe(plot, rows))


def describe(plot: Plot, rows: Sequence[Row]) -> str:
    """The figure in one sentence, for readers who cannot see it."""
    sizes = sizes_of(row for row in rows if plot.shows(row))
    values = []
    for name, line in plot.lines(rows).items():
        at_last = [row for row in line if row.n == sizes[-1]]
        values += [f"{name} {text.number(getattr(row, plot.field))}" for row in at_last]
    return (
        f"Line chart of {plot.label} over pool size from {sizes[0]} to {sizes[-1]}. At n ="
        f" {sizes[-1]}: {', '.join(values)}."
    )


def _set_axes(axes: Axes, plot: Plot, sizes: Sequence[int]) -> None:
    from matplotlib import ticker

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.FixedLocator(sizes))
    axes.xaxis.set_major_formatter(tick_text)
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    if plot.log:
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    else:
        low, high = axes.get_ylim()
        # Random pairs may have a gain slightly below zero.
        axes.set_ylim(min(0.0, low), max(0.0, 1.04 * high))
    axes.yaxis.set_major_formatter(_height_text)
    heights = f"{plot.label} (log)" if plot.log else plot.label
    axes.set(xlabel="pool size n (log)", ylabel=heights)


def _height_text(value: float, position: int | None = None) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _provenance(path: Path) -> dict[str, object]:
    """The file next to the table; empty if it is missing, because the numbers do without."""
    try:
        return flatten(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
