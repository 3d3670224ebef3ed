"""Points and lines in the plane: panels side by side, all on the same square axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reports.figures.drawing import drawing_style, load_matplotlib
from reports.figures.style import STYLE
from reports.text import pieces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLUMNS = 5
_SIDE = 1.55  # inches of one panel
_HEADING = 0.3  # inches above it
_DOT = 1e-3  # of the side of the frame, the length of a dot

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Frame:
    """A square part of the plane: its centre, and half of its side."""

    centre: tuple[float, float]
    half: float

    @classmethod
    def around(cls, points: Iterable[tuple[float, float]], margin: float) -> Frame:
        """The smallest square around some points, larger by ``margin`` of its side at each edge."""
        horizontal, vertical = zip(*points, strict=True)
        middle = []
        side = 0.0
        for values in (horizontal, vertical):
            middle.append((min(values) + max(values)) / 2)
            side = max(side, max(values) - min(values))
        # Equal points span nothing, and axes need a range.
        return cls((middle[0], middle[1]), (0.5 + margin) * (side or 1.0))

    @property
    def limits(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Lowest and highest x, lowest and highest y."""
        x, y = self.centre
        return (x - self.half, x + self.half), (y - self.half, y + self.half)

    def holds(self, point: tuple[float, float]) -> bool:
        """True for a point in the frame."""
        (left, right), (bottom, top) = self.limits
        return left <= point[0] <= right and bottom <= point[1] <= top


@dataclass(frozen=True)
class Layer:
    """Lines of one colour and width, drawn as one element; a line of a single point is a dot."""

    lines: Sequence[Points]
    colour: str
    width: float
    alpha: float = 1.0


@dataclass(frozen=True)
class Panel:
    """One pair of axes: lines of text above it, its layers, and the label of its row."""

    heading: str
    layers: tuple[Layer, ...]
    row: str = ""


def dots(points: Points, colour: str, size: float = 2, alpha: float = 0.6) -> Layer:
    """Points as dots, ``size`` in points of print."""
    return Layer([[point] for point in points], colour, size, alpha)


def heading(name: str, *more: str) -> str:
    """The name of a coupling in pieces that fit above a panel, and further lines."""
    return "\n".join([*pieces(name), *more])


def drawing(rows: Sequence[Sequence[Panel]], frame: Frame) -> Canvas:
    """All panels; each of ``rows`` begins a row of its own, and takes several if it is long."""
    load_matplotlib()
    from matplotlib.figure import Figure as Canvas

    columns = min(COLUMNS, max(map(len, rows)))
    panels: list[Panel | None] = []
    for row in rows:
        panels += row
        panels += [None] * (-len(panels) % columns)
    lines = len(panels) // columns
    with drawing_style(STYLE):
        size = (_SIDE * columns, (_SIDE + _HEADING) * lines)
        figure = Canvas(figsize=size, layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False).flat
        for ax, panel in zip(grid, panels, strict=True):
            if panel is None:
                ax.set_visible(False)
                continue
            for layer in panel.layers:
                _draw(ax, layer, 2 * frame.half * _DOT)
            _set(ax, panel, frame)
    return figure


def _draw(ax: Axes, layer: Layer, stroke: float) -> None:
    """Draw all lines as one path; one element per line would be ten times the bytes."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    ends: Points = []
    codes: list[int] = []
    for line in layer.lines:
        # A stroke of nearly no length with round ends is a dot; not all programs draw one of none.
        corners = line if len(line) > 1 else [line[0], (line[0][0] + stroke, line[0][1])]
        ends += corners
        codes += [Outline.MOVETO, *[Outline.LINETO] * (len(corners) - 1)]
    # matplotlib refuses an array of no rows.
    if not ends:
        return
    outline = Outline(ends, codes)
    outline.should_simplify = False  # it would remove the strokes of dots
    style = {"color": layer.colour, "linewidth": layer.width, "alpha": layer.alpha}
    ax.add_patch(PathPatch(outline, fill=False, capstyle="round", joinstyle="round", **style))


def _set(ax: Axes, panel: Panel, frame: Frame) -> None:
    """Set words and axes."""
    xlim, ylim = frame.limits
    ax.set_title(panel.heading, fontsize=8)
    ax.set_ylabel(panel.row)
    ax.set(xlim=xlim, ylim=ylim, xticks=[], yticks=[])
    # One scale for both directions, because distances in the plane are what is compared.
    ax.set_box_aspect(1)
    ax.grid(visible=False)


def read_rows(path: Path, head: str) -> list[list[float]]:
    """The rows of a file of numbers with these columns that are finite; none if it is missing or
    damaged.
    """
    try:
        first, *lines = path.read_text(encoding="utf-8").split()
        rows = [list(map(float, line.split(","))) for line in lines]
    # Text that is no UTF-8 and a file without any line are ValueErrors, too.
    except (OSError, ValueError):
        return []
    if first != head or any(len(row) != len(head.split(",")) for row in rows):
        return []
    return [row for row in rows if all(map(math.isfinite, row))]
