"""The page of the solver benchmark: ``solve.csv`` to a self-contained ``solve.html``."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from markupsafe import Markup

from bench.record import write_bytes
from reports import text
from reports.figures import style
from reports.figures.drawing import drawing_style, load_matplotlib
from reports.figures.style import INK, STYLE, Look, line_style, tick_text
from reports.figures.svg import Figure, to_svg
from reports.files import html
from reports.tables.arms import ordered
from reports.tables.runs import ReportError, flatten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OPTIMAL = 0.999  # the gain from which a pairing counts as optimal
_FEW_ROUNDS = 3  # with fewer, one slow round moves the median
_KINDS = ("coupling", "peer", "floor")  # in the order of the tables
_PEER_MARKERS = ("<", "d", "*")  # none that a coupling has
_PEER_DASHES = ((0, (6, 2)), (0, (6, 2, 1.5, 2)), (0, (3, 2)))
_DOTS = (0, (1, 1.5))
_LEGEND_WIDTH = 30  # letters of a line of the legend


@dataclass(frozen=True)
class Row:
    """One row of solve.csv, as ``bench.solve`` describes it; an empty number is None."""

    contender: str
    kind: str
    data: str
    n: int
    d: int | None
    rounds: int
    median_ms: float | None
    p95_ms: float | None
    matrix_ms: float | None
    solve_ms: float | None
    peak_mb: float | None
    cost_ratio: float | None
    gain: float | None
    repeated: float | None
    converged: bool | None
    note: str

    @property
    def is_optimal(self) -> bool:
        """True if the pairing reaches the optimum without using a noise sample twice."""
        reached = self.gain is not None and self.gain >= OPTIMAL
        return bool(self.converged) and reached and not self.repeated


@dataclass(frozen=True)
class Size:
    """All rows of one pool size."""

    n: int
    rows: list[Row]

    def of_kind(self, kind: str) -> list[Row]:
        """The timed rows of one kind of contender."""
        return [row for row in self.rows if row.kind == kind and row.median_ms]


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


def read(path: Path) -> list[Row]:
    """The rows of a table of ``bench.solve``.

    Raises:
        ReportError: it is missing, or is no such table.

    """
    try:
        # newline="" leaves line ends within quoted notes to the csv module.
        with path.open(encoding="utf-8", newline="") as file:
            return [_row(line) for line in csv.DictReader(file)]
    except OSError as error:
        raise ReportError(
            f"cannot read {path} ({error.strerror}): make it with python -m bench.solve"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise ReportError(
            f"{path} is not a table of python -m bench.solve ({error}): make it again"
        ) from None


def _row(line: dict[str, str]) -> Row:
    values = {name: _value(line[name], kind) for name, kind in get_type_hints(Row).items()}
    return Row(**values)


def _value(text: str, kind: object) -> Any:
    """A field of the table as its type; empty is None if the type allows it."""
    if kind is str:
        return text
    # bool("False") is True, so booleans are read by their names.
    if kind == bool | None:
        return {"True": True, "False": False, "": None}[text]
    if text == "" and kind is not int:
        return None
    return int(text) if kind in (int, int | None) else float(text)


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
        figures=[_figure(plot, rows, look) for plot in PLOTS if plot.lines(rows)],
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


def in_order(rows: Sequence[Row]) -> list[Row]:
    """The order of tables and figures: couplings with random first, then peers, then the floor,
    each with rising sizes.
    """
    rank = ordered(row.contender for row in rows)
    return sorted(rows, key=lambda row: (_KINDS.index(row.kind), rank.index(row.contender), row.n))


def by_size(rows: Sequence[Row]) -> list[Size]:
    """The rows of each pool size, the sizes rising."""
    sizes = {n: Size(n, []) for n in _sizes(rows)}
    for row in rows:
        sizes[row.n].rows.append(row)
    return list(sizes.values())


def _sizes(rows: Iterable[Row]) -> list[int]:
    return sorted({row.n for row in rows})


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
        _set_axes(axes, plot, _sizes(rows))
        place = {"loc": "outside upper left", "ncols": 2, "handlelength": 2.6}
        figure.legend(handles=handles, frameon=False, **place)
        return to_svg(figure, describe(plot, rows))


def describe(plot: Plot, rows: Sequence[Row]) -> str:
    """The figure in one sentence, for readers who cannot see it."""
    sizes = _sizes(row for row in rows if plot.shows(row))
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
