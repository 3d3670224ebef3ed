"""Gain of solvers over their time, at one pool size, and the least time to reach each gain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from reports import text
from reports.figures.drawing import drawing_style, load_matplotlib
from reports.figures.style import INK, STYLE, Look, line_style, tick_text
from reports.figures.svg import Figure, to_svg

_LEGEND_WIDTH = 30  # letters of a line of the legend
_FRONT = {"color": INK, "linewidth": 1, "linestyle": (0, (1, 1.5)), "zorder": 1}


class Point(NamedTuple):
    """A solver, the median time of its solves in ms, and its mean gain."""

    name: str
    ms: float
    gain: float


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other point beats in time and gain at once, from the quickest on."""
    best: list[Point] = []
    # Of equal times the higher gain comes first, so that the other one is beaten.
    for point in sorted(points, key=lambda point: (point.ms, -point.gain)):
        if not best or point.gain > best[-1].gain:
            best.append(point)
    return best


def gain_over_time(n: int, points: Sequence[Point], look: dict[str, Look]) -> Figure:
    """Figure of the points at pool size n, and a dotted step line through their front.

    Args:
        n: pool size.
        points: at least one.
        look: of each name.

    """
    load_matplotlib()
    from matplotlib import ticker
    from matplotlib.figure import Figure as Canvas

    with drawing_style(STYLE):
        figure = Canvas(figsize=(6.2, 4.6), layout="constrained")
        axes = figure.subplots()
        for point in points:
            style = line_style(look[point.name], size=8, width=1.5)
            # A floor has no marker, and a lone point no line.
            label = "\n".join(text.pieces(point.name, _LEGEND_WIDTH))
            axes.plot([point.ms], [point.gain], **style | {"linestyle": ""}, label=label)
        best = front(points)
        # Between two solvers the gain is that of the quicker one, up to the end of the axis.
        times = [*(point.ms for point in best), max(point.ms for point in points)]
        gains = [*(point.gain for point in best), best[-1].gain]
        axes.plot(times, gains, drawstyle="steps-post", **_FRONT)
        axes.set(xscale="log", xlabel="time, ms (log)", ylabel="gain")
        # Minor ticks would crowd an axis that spans less than a factor of ten.
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
        axes.xaxis.set_major_formatter(tick_text)
        axes.set_ylim(*_gain_limits(points))
        place = {"loc": "outside upper left", "ncols": 2, "handlelength": 1.5}
        figure.legend(frameon=False, **place)
        return Figure(f"Gain over time, n = {n:,}", to_svg(figure, describe(n, points)), _about())


def _gain_limits(points: Sequence[Point]) -> tuple[float, float]:
    gains = [point.gain for point in points if math.isfinite(point.gain)]
    # Random pairs may have a gain slightly below zero.
    return min(0.0, *gains) - 0.03, max(1.0, *gains) + 0.03


def _about() -> str:
    return (
        "Each point is a solver: median time of a whole solve, mean gain. Dotted: the most gain"
        " that any of them reaches within a time."
    )


def describe(n: int, points: Sequence[Point]) -> str:
    """The figure in one sentence, for readers who cannot see it."""
    best = [f"{p.name} {text.number(p.gain)} in {text.number(p.ms)} ms" for p in front(points)]
    return (
        f"Gain of solvers over their time at n = {n:,}. The most within a time: {', '.join(best)}."
    )
