"""The page of the solver benchmark: ``solve.csv`` to a self-contained ``solve.html``."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

from markupsafe import Markup

from bench.record import write_bytes
from reports import text as words
from reports.figures import panels as figures
from reports.figures import style
from reports.figures.drawing import drawing_style, load_matplotlib
from reports.figures.style import Look
from reports.sections.values import Figure
from reports.tables.runs import ReportError, flatten
from reports.tables.statistics import ordered
from reports.text import _breakable, _plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OPTIMAL = 0.999  # the gain from which a pairing counts as optimal
_FEW_ROUNDS = 3
_KINDS = ("coupling", "peer", "floor")
_PEER_MARKERS = ("<", "d", "*")
_PEER_DASHES = ((0, (6, 2)), (0, (6, 2, 1.5, 2)), (0, (3, 2)))
_DOTS = (0, (1, 1.5))


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


@dataclass(frozen=True)
class Size:
    """All rows of one pool size."""

    n: int
    rows: list[Row]


@dataclass(frozen=True)
class Plot:
    """What one figure shows: a value of every row over n."""

    title: str
    label: str
    value: Callable[[Row], float | None]
    log: bool
    about: str


PLOTS = (
    Plot("Time of a solve", "time, ms", lambda row: row.median_ms, True,
         "Median over the rounds, cost matrix included."),
    Plot("Peak memory of a solve", "memory, MB", lambda row: row.peak_mb, True,
         "The most that one solve held beside the pool, in a process of its own."),
    Plot("Gain", "gain", lambda row: row.gain, False,
         "Share of the possible cut in squared distance, mean over the rounds: 0 what random pairs have on average, "
         "1 the optimum. "
         "Only a pairing that repeats noises can exceed 1."),
)  # fmt: skip


def build(csv: Path) -> Path:
    """Write the page beside the table and return its path; the same files give the same bytes.

    Raises: ReportError: the table is missing or not one of ``bench.solve``, or the page cannot be
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
    types = get_type_hints(Row)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file))
        return [
            Row(**{f.name: _value(line[f.name], types[f.name]) for f in fields(Row)})
            for line in found
        ]
    except OSError as error:
        raise ReportError(
            f"cannot read {path} ({error.strerror}): make it with python -m bench.solve"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise ReportError(
            f"{path} is no table of python -m bench.solve ({error}): make it anew"
        ) from None


def render(rows: Sequence[Row], provenance: dict[str, object], csv_name: str, source: str) -> str:
    """The whole page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "number": _known(words.number), "percent": _known(words.percent), "fixed": _known("{:.4f}".format),
        "plain": _plain, "breakable": _breakable,
    }  # fmt: skip
    rows = in_order(rows)
    look, sizes = looks(rows), by_size(rows)
    drawn = [plot for plot in PLOTS if any(_shown(plot, row) for row in rows)]
    return environment.get_template("solver.html").render(
        data=sorted({row.data for row in rows}),
        dimensions=sorted({row.d for row in rows if row.d}),
        warnings=warnings(sizes),
        findings=[finding(size) for size in sizes],
        optimal=OPTIMAL,
        floor=floor(rows),
        figures=[
            Figure(plot.title, draw(plot, rows, look), f"{plot.about} {_caption(plot)}")
            for plot in drawn
        ],
        sizes=sizes,
        look=look,
        provenance=provenance,
        source=source,
        csv=csv_name,
        missing=words.MISSING,
    )


def in_order(rows: Sequence[Row]) -> list[Row]:
    """The order of tables and figures: couplings with random first, then peers, then the floor; the
    sizes rising.
    """
    rank = ordered(row.contender for row in rows)
    return sorted(rows, key=lambda row: (_KINDS.index(row.kind), rank.index(row.contender), row.n))


def by_size(rows: Sequence[Row]) -> list[Size]:
    """The rows of each pool size, the sizes rising."""
    return [Size(n, [row for row in rows if row.n == n]) for n in sorted({row.n for row in rows})]


def looks(rows: Sequence[Row]) -> dict[str, Look]:
    """Couplings look as in any report that compares them; peers and the floor have the colour of
    the text.
    """
    found = style.looks(row.contender for row in rows if row.kind == "coupling")
    peers = ordered(row.contender for row in rows if row.kind == "peer")
    text = (figures._INK, "currentColor")
    return (
        found
        | {
            name: Look(*text, _PEER_MARKERS[i % 3], _PEER_DASHES[i % 3])
            for i, name in enumerate(peers)
        }
        | {row.contender: Look(*text, "", _DOTS) for row in rows if row.kind == "floor"}
    )


def finding(size: Size) -> str:
    """The quickest coupling that reaches the optimum at this size, and how much longer the peers
    take.
    """
    exact = [row for row in size.rows if row.kind == "coupling" and row.median_ms and _optimal(row)]
    if not exact:
        return f"n = {size.n}: none is known to be there."
    best = min(exact, key=lambda row: row.median_ms)
    line = f"n = {size.n}: {best.contender}, {words.number(best.median_ms)} ms."
    peers = [
        f"{row.contender} takes {words.number(row.median_ms / best.median_ms)} times as long"
        + ("" if row.converged else " and stops short of the optimum")
        for row in size.rows
        if row.kind == "peer" and row.median_ms
    ]
    return f"{line} {words.join(peers)}." if peers else line


def floor(rows: Sequence[Row]) -> str:
    """What the product of images and noises alone takes, at the largest size where it was measured."""
    found = [row for row in rows if row.kind == "floor" and row.median_ms and row.d]
    if not found:
        return ""
    row = max(found, key=lambda row: row.n)
    operations = 2 * row.n**2 * row.d
    return (
        f"The floor: the float32 product of {row.n:,} images with {row.n:,} noises is 2 n² d ="
        f" {words.number(operations / 1e9)} billion operations and takes"
        f" {words.number(row.median_ms)} ms here ({words.number(operations / row.median_ms / 1e6)}"
        " GFLOP/s). Comparing every image with every noise takes about as long at the least."
    )


def warnings(sizes: Sequence[Size]) -> list[str]:
    """What to know before believing a number."""
    lines = ["Times and memory can be compared within this page only: another machine has others."]
    for size in sizes:
        failed = [row.contender for row in size.rows if row.converged is False]
        few = [row.contender for row in size.rows if 0 < row.rounds < _FEW_ROUNDS]
        out = [row.contender for row in size.rows if not row.rounds]
        for names, verb in ((failed, "did not converge"), (few, f"with fewer than {_FEW_ROUNDS} rounds"),
                            (out, "without numbers (the note in the table says why)")):  # fmt: skip
            if names:
                lines.append(f"n = {size.n}, {verb}: {words.join(names)}.")
    return lines


def draw(plot: Plot, rows: Sequence[Row], look: dict[str, Look]) -> Markup:
    """A value against the pool size, n logarithmic: one line a contender, a ring where it did not
    converge.
    """
    load_matplotlib()
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

    with drawing_style(figures._STYLE):
        figure = Canvas(figsize=(6.2, 4.6), layout="constrained")
        axes = figure.subplots()
        handles = []
        for name, line in _lines(plot, rows).items():
            style = {"color": look[name].colour, "marker": look[name].marker, "linestyle": look[name].line,
                     "linewidth": 1.5, "markersize": 5.5}  # fmt: skip
            x, y = [row.n for row in line], [plot.value(row) for row in line]
            axes.plot(x, y, markeredgecolor="none", **style)
            failed = [k for k, row in enumerate(line) if row.converged is False]
            ring = style | {"linestyle": "", "marker": "o", "markersize": 10}
            axes.plot(
                [x[k] for k in failed], [y[k] for k in failed], markerfacecolor="none", **ring
            )
            handles.append(
                Line2D(
                    [], [], label="\n".join(words.pieces(name, 30)), markeredgecolor="none", **style
                )
            )
        _axes(axes, plot, sorted({row.n for row in rows}))
        figure.legend(
            handles=handles, loc="outside upper left", ncols=2, frameon=False, handlelength=2.6
        )
        return figures._svg(figure, describe(plot, rows))


def describe(plot: Plot, rows: Sequence[Row]) -> str:
    """The figure in one sentence, for who cannot see it."""
    sizes = sorted({row.n for row in rows if _shown(plot, row)})
    last = ", ".join(
        f"{name} {words.number(plot.value(row))}"
        for name, line in _lines(plot, rows).items()
        for row in line
        if row.n == sizes[-1]
    )
    return (
        f"Line chart of {plot.label} against pool size from {sizes[0]} to {sizes[-1]}. At n ="
        f" {sizes[-1]}: {last}."
    )


def _lines(plot: Plot, rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows that the figure shows, by contender."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if _shown(plot, row):
            found.setdefault(row.contender, []).append(row)
    return found


def _shown(plot: Plot, row: Row) -> bool:
    """A logarithmic axis has no place for zero."""
    value = plot.value(row)
    return value is not None and math.isfinite(value) and (value > 0 or not plot.log)


def _axes(axes: Axes, plot: Plot, sizes: Iterable[int]) -> None:
    from matplotlib import ticker

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.FixedLocator(list(sizes)))
    axes.xaxis.set_major_formatter(figures._plain)
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    if plot.log:
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(ticker.NullLocator())
    else:
        low, high = axes.get_ylim()
        axes.set_ylim(min(0.0, low), max(0.0, 1.04 * high))
    axes.yaxis.set_major_formatter(
        lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}"
    )
    axes.set(xlabel="n, images in a pool", ylabel=plot.label)


def _caption(plot: Plot) -> str:
    scale = (
        "Both axes are logarithmic"
        if plot.log
        else "The axis of n is logarithmic, the other includes 0"
    )
    return (
        f"{scale}; dashed lines are other libraries, the dotted one is the floor; a ring: not"
        " converged."
    )


def _optimal(row: Row) -> bool:
    return bool(row.converged) and row.gain is not None and row.gain >= OPTIMAL and not row.repeated


def _known(form: Callable[[float], str]) -> Callable[[float | None], str]:
    """A filter that leaves an unknown number to the template."""
    return lambda value: words.MISSING if value is None else form(value)


def _value(text: str, kind: object) -> object:
    """A field of the table as its type; empty is None where the type allows it."""
    if kind is str:
        return text
    if kind == bool | None:
        return {"True": True, "False": False, "": None}[text]
    if text == "" and kind is not int:
        return None
    return int(text) if kind in (int, int | None) else float(text)


def _provenance(path: Path) -> dict[str, object]:
    try:
        return flatten(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
