"""Scatter plots of points in the plane: the data, and the samples of each coupling."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.figures.drawing import drawing_style, load_matplotlib
from reports.figures.style import INK, STYLE, Look, looks
from reports.figures.svg import Figure, to_svg
from reports.sections._first import first_runs
from reports.tables.groups import Group
from reports.tables.runs import Run
from reports.text import join, pieces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

title = "Generated points"
place = 90

DATA = "data"
COLUMNS = 5
_SIDE = 1.55  # inches of one panel
_HEADING = 0.3  # inches above it
_MARGIN = 0.35  # of the range of the data, around it; points further out are counted, not drawn
_DOT = 1e-3  # of the range of the data, the length of a dot
_HEAD = "x,y"

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Scatter:
    """The points of one comparison.

    Attributes:
        data: held-out points.
        samples: NFE to coupling to generated points, from the same latents.

    """

    data: Points
    samples: dict[int, dict[str, Points]]

    @property
    def caption(self) -> str:
        """The content of the panels."""
        sizes: set[int] = set()
        for by_coupling in self.samples.values():
            sizes.update(map(len, by_coupling.values()))
        count = f"{max(sizes):,}" if len(sizes) == 1 else f"up to {max(sizes):,}"
        nfes = join([str(nfe) for nfe in self.samples])
        return (
            f"Held-out points of the data, and {count} points generated from the same noise samples"
            f" by the first seed of each coupling, at the fixed rho and NFE {nfes}. Points outside"
            " the frame are not drawn; their number stands above the panel."
        )

    @property
    def frame(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Lowest and highest x and y of all panels, from the range of the data."""
        # By the data alone: one generated point far outside would compress all others.
        limits = []
        for values in zip(*self.data, strict=True):
            room = _MARGIN * ((max(values) - min(values)) or 1.0)
            limits.append((min(values) - room, max(values) + room))
        return limits[0], limits[1]

    def outside(self, points: Points) -> int:
        """Number of points outside the frame."""
        (left, right), (bottom, top) = self.frame
        return sum(not (left <= x <= right and bottom <= y <= top) for x, y in points)


@dataclass(frozen=True)
class _Panel:
    """One pair of axes: a name above it, points in a colour, and the NFE of its row."""

    nfe: int
    name: str
    points: Points
    colour: str


def build(group: Group) -> Figure | None:
    """The scatter plots; None if the runs kept no points."""
    found = scatter(group.runs)
    if found is None:
        return None
    return Figure(title, draw(found, looks(group.couplings)), found.caption, wide=True)


def scatter(runs: Sequence[Run]) -> Scatter | None:
    """The points that the runs kept, of each coupling's first seed; None if they kept none."""
    data: Points = []
    samples: dict[int, dict[str, Points]] = {}
    for coupling, run in first_runs(runs).items():
        folder = run.path / "samples"
        # All runs of a comparison keep the same held-out points.
        data = data or _read(folder / "real.csv")
        for path in folder.glob("nfe*.csv"):
            nfe = re.fullmatch(r"nfe(\d+)", path.stem)
            points = _read(path) if nfe else []
            if points:
                samples.setdefault(int(nfe[1]), {})[coupling] = points
    return Scatter(data, dict(sorted(samples.items()))) if data and samples else None


def draw(found: Scatter, look: dict[str, Look]) -> Markup:
    """The points as SVG."""
    rows = [f"NFE {nfe}: {', '.join(points)}" for nfe, points in found.samples.items()]
    words = f"Points of the data and generated points. {'; '.join(rows)}."
    with drawing_style(STYLE):
        return to_svg(drawing(found, look), words)


def drawing(found: Scatter, look: dict[str, Look]) -> Canvas:
    """Panels in rows: for each NFE the data first, then the couplings, all on the same axes."""
    load_matplotlib()
    from matplotlib.figure import Figure as Canvas

    columns = min(COLUMNS, 1 + max(map(len, found.samples.values())))
    panels = _panels(found, look, columns)
    rows = len(panels) // columns
    horizontal = [x for x, _ in found.data]
    stroke = _DOT * (max(horizontal) - min(horizontal))
    with drawing_style(STYLE):
        size = (_SIDE * columns, (_SIDE + _HEADING) * rows)
        figure = Canvas(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).flat
        for ax, panel in zip(grid, panels, strict=True):
            if panel is None:
                ax.set_visible(False)
            else:
                _draw(ax, panel, stroke)
                _set_heading(ax, panel, found.outside(panel.points))
                _set_frame(ax, found)
    return figure


def _panels(found: Scatter, look: dict[str, Look], columns: int) -> list[_Panel | None]:
    """All panels by rows; None where a row is not full."""
    panels: list[_Panel | None] = []
    for nfe, by_coupling in found.samples.items():
        panels.append(_Panel(nfe, DATA, found.data, INK))
        for coupling, points in by_coupling.items():
            panels.append(_Panel(nfe, coupling, points, look[coupling].colour))
        # Each NFE begins a row.
        panels += [None] * (-len(panels) % columns)
    return panels


def _draw(ax: Axes, panel: _Panel, stroke: float) -> None:
    """Draw all points as one path of dots; one element per point would be ten times the bytes."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    # A stroke of nearly no length with round ends is a dot; not all programs draw one of no length.
    ends = []
    for x, y in panel.points:
        ends += [(x, y), (x + stroke, y)]
    outline = Outline(ends, [Outline.MOVETO, Outline.LINETO] * len(panel.points))
    outline.should_simplify = False  # it would remove such short strokes
    style = {"color": panel.colour, "linewidth": 2, "alpha": 0.6, "capstyle": "round"}
    ax.add_patch(PathPatch(outline, fill=False, **style))


def _set_heading(ax: Axes, panel: _Panel, outside: int) -> None:
    """Set the name, and the number of points outside the frame: without it a poor model would look
    like a small sample.
    """
    lines = pieces(panel.name)
    if outside:
        lines.append(f"{outside:,} of {len(panel.points):,} outside")
    ax.set_title("\n".join(lines), fontsize=8)
    if panel.name == DATA:
        ax.set_ylabel(f"NFE {panel.nfe}")


def _set_frame(ax: Axes, found: Scatter) -> None:
    """Set the same range for all panels."""
    xlim, ylim = found.frame
    ax.set(xlim=xlim, ylim=ylim, xticks=[], yticks=[])
    # Squares, because distances in the plane are what is compared.
    ax.set_box_aspect(1)
    ax.grid(visible=False)


def _read(path: Path) -> Points:
    """The finite points of a file; none if it is missing or damaged."""
    try:
        head, *lines = path.read_text(encoding="utf-8").split()
        rows = [list(map(float, line.split(","))) for line in lines]
    # Text that is no UTF-8 and a file without any line are ValueErrors, too.
    except (OSError, ValueError):
        return []
    if head != _HEAD or any(len(row) != 2 for row in rows):
        return []
    return [(x, y) for x, y in rows if math.isfinite(x) and math.isfinite(y)]
