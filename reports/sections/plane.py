"""Scatter plots of points in the plane: the data, and the samples of each run."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.figures import panels as figures
from reports.figures.drawing import drawing_style, load_matplotlib
from reports.figures.style import Look
from reports.tables.runs import Run
from reports.tables.statistics import ordered
from reports.text import join, pieces

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DATA = "data"
COLUMNS = 5
_SIDE = 1.55  # inches of one panel
_MARGIN = 0.35  # of the range of the data, around them; points further out are not drawn
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
        """What is shown."""
        counts = {len(points) for arms in self.samples.values() for points in arms.values()}
        count = f"{max(counts):,}" if len(counts) == 1 else f"up to {max(counts):,}"
        return (
            f"Held-out points of the data, and {count} points generated from the same noise samples"
            " by the first seed of each coupling, at the fixed rho and NFE"
            f" {join([str(nfe) for nfe in self.samples])}. Points outside the frame are not drawn;"
            " their number stands above the panel."
        )

    @property
    def frame(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Lowest and highest x and y of all panels, from the range of the data."""
        limits = []
        for values in zip(*self.data, strict=True):
            room = _MARGIN * ((max(values) - min(values)) or 1.0)
            limits.append((min(values) - room, max(values) + room))
        return limits[0], limits[1]

    def outside(self, points: Points) -> int:
        """Number of points that the frame leaves out."""
        (left, right), (bottom, top) = self.frame
        return sum(not (left <= x <= right and bottom <= y <= top) for x, y in points)


def scatter(members: Sequence[Run]) -> Scatter | None:
    """The points that the runs of a comparison kept, of each arm's first seed; None where they kept
    none.
    """
    first: dict[str, Run] = {}
    for run in sorted(members, key=lambda run: int(run.config["seed"])):
        first.setdefault(str(run.config["coupling"]), run)
    data: Points = []
    samples: dict[int, dict[str, Points]] = {}
    for arm in ordered(first):
        folder = first[arm].path / "samples"
        data = data or _read(folder / "real.csv")
        for path in folder.glob("nfe*.csv"):
            nfe = re.fullmatch(r"nfe(\d+)", path.stem)
            if nfe and (points := _read(path)):
                samples.setdefault(int(nfe[1]), {})[arm] = points
    return Scatter(data, dict(sorted(samples.items()))) if data and samples else None


def draw(found: Scatter, look: dict[str, Look]) -> Markup:
    """The points as SVG."""
    counts = "; ".join(f"NFE {nfe}: {', '.join(arms)}" for nfe, arms in found.samples.items())
    with drawing_style(figures._STYLE):
        return figures._svg(
            drawing(found, look), f"Points of the data and generated points. {counts}."
        )


def drawing(found: Scatter, look: dict[str, Look]) -> Figure:
    """Panels in rows: for each NFE the data first, then the arms, all on the same axes."""
    load_matplotlib()
    from matplotlib.figure import Figure

    columns = min(COLUMNS, 1 + max(map(len, found.samples.values())))
    panels = []
    for nfe, arms in found.samples.items():
        panels.append((f"NFE {nfe}", DATA, found.data, figures._INK))
        panels += [(f"NFE {nfe}", arm, points, look[arm].colour) for arm, points in arms.items()]
        panels += [None] * (-len(panels) % columns)  # each NFE begins a row
    rows = len(panels) // columns
    stroke = _DOT * (max(x for x, _ in found.data) - min(x for x, _ in found.data))
    with drawing_style(figures._STYLE):
        figure = Figure(figsize=(_SIDE * columns, (_SIDE + 0.3) * rows), layout="constrained")
        for ax, panel in zip(
            figure.subplots(rows, columns, squeeze=False).flat, panels, strict=True
        ):
            if panel is None:
                ax.set_visible(False)
            else:
                _draw(ax, *panel, stroke)
                _frame(ax, found)
                _count_outside(ax, found.outside(panel[2]), len(panel[2]))
    return figure


def _draw(ax: Axes, nfe: str, name: str, points: Points, colour: str, stroke: float) -> None:
    """All points as one path of dots: elements of their own would be ten times as many bytes."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    # A stroke of nearly no length with round ends is a dot; not all programs draw one of no length
    # at all.
    ends = [end for x, y in points for end in ((x, y), (x + stroke, y))]
    outline = Outline(ends, [Outline.MOVETO, Outline.LINETO] * len(points))
    outline.should_simplify = False  # or such strokes would go
    ax.add_patch(
        PathPatch(outline, fill=False, color=colour, linewidth=2, alpha=0.6, capstyle="round")
    )
    ax.set_title("\n".join(pieces(name)), fontsize=8)
    if name == DATA:
        ax.set_ylabel(nfe)


def _count_outside(ax: Axes, outside: int, count: int) -> None:
    """Say in the title how many points the frame leaves out, or a poor model would look like a
    small sample.
    """
    if outside:
        ax.set_title(f"{ax.get_title()}\n{outside:,} of {count:,} outside", fontsize=8)


def _frame(ax: Axes, found: Scatter) -> None:
    """The same range for all panels, from that of the data."""
    xlim, ylim = found.frame
    ax.set(xlim=xlim, ylim=ylim)
    ax.set(xticks=[], yticks=[])
    ax.set_box_aspect(1)
    ax.grid(visible=False)


def _read(path: Path) -> Points:
    """The finite points of a file; none where there is no such file, or a damaged one."""
    try:
        head, *lines = path.read_text(encoding="utf-8").split()
        points = [tuple(map(float, line.split(","))) for line in lines]
    except (OSError, ValueError):
        return []
    if head != _HEAD or any(len(point) != 2 for point in points):
        return []
    return [point for point in points if all(map(math.isfinite, point))]
