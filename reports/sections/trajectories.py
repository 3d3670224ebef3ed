"""Sampling paths in the plane, from noise to data, of each coupling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.figures import plane
from reports.figures.drawing import drawing_style
from reports.figures.plane import Frame, Layer, Panel, Points
from reports.figures.style import INK, STYLE, Look, looks
from reports.figures.svg import Figure, to_svg
from reports.sections._first import first_runs
from reports.tables.groups import Group
from reports.tables.runs import Run
from reports.text import join

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

title = "Trajectories"
place = 89
folded = True

_MARGIN = 0.05  # of the range of all starts, around it


@dataclass(frozen=True)
class Trajectories:
    """The paths of one comparison: coupling to paths, each from noise to data."""

    paths: dict[str, list[Points]]

    @property
    def caption(self) -> str:
        """The content of the panels."""
        counts = sorted({len(paths) for paths in self.paths.values()})
        many = join([str(count) for count in counts])
        return (
            f"Paths from {many} noise samples (grey dots), the same for all couplings, to generated"
            " points (coloured): the dense reference solver with the first seed of each coupling,"
            " in flow-matching coordinates z = (1 − t) y + t n."
        )

    @property
    def frame(self) -> Frame:
        """The part of the plane that all panels show: that of the noise samples, and of most ends
        where the data are wider.
        """
        starts: Points = []
        for paths in self.paths.values():
            starts += [path[0] for path in paths]
        # Of the ends only the middle nine tenths in each direction: one of a poor model, far
        # outside, would compress all others.
        return Frame.around([*starts, *_middle(self._ends)], _MARGIN)

    @property
    def _ends(self) -> Points:
        ends: Points = []
        for paths in self.paths.values():
            ends += [path[-1] for path in paths]
        return ends


def build(group: Group) -> Figure | None:
    """The paths; None if the runs kept none."""
    found = trajectories(group.runs)
    if found is None:
        return None
    return Figure(title, draw(found, looks(group.couplings)), found.caption, wide=True)


def trajectories(runs: Sequence[Run]) -> Trajectories | None:
    """The paths that each coupling's first seed kept; None if none did."""
    by_coupling = {}
    for coupling, run in first_runs(runs).items():
        paths = _read(run.path / "samples" / "trajectories.csv")
        if paths:
            by_coupling[coupling] = paths
    return Trajectories(by_coupling) if by_coupling else None


def draw(found: Trajectories, look: dict[str, Look]) -> Markup:
    """The paths as SVG."""
    words = f"Sampling paths from noise to data in the plane: {'; '.join(found.paths)}."
    with drawing_style(STYLE):
        return to_svg(drawing(found, look), words)


def drawing(found: Trajectories, look: dict[str, Look]) -> Canvas:
    """A panel for each coupling, all on the same axes."""
    row = []
    for coupling, paths in found.paths.items():
        colour = look[coupling].colour
        layers = (
            Layer(paths, colour, width=0.6, alpha=0.6),
            plane.dots([path[0] for path in paths], INK, size=2.5, alpha=0.4),
            plane.dots([path[-1] for path in paths], colour, size=3, alpha=1.0),
        )
        row.append(Panel(plane.heading(coupling), layers))
    return plane.drawing([row], found.frame)


def _middle(points: Points) -> Points:
    """Corners of the box that holds the middle nine tenths of both coordinates."""
    low = []
    high = []
    for values in zip(*points, strict=True):
        ordered = sorted(values)
        cut = len(ordered) // 20
        low.append(ordered[cut])
        high.append(ordered[-1 - cut])
    return [(low[0], low[1]), (high[0], high[1])]


def _read(path: Path) -> list[Points]:
    """The paths of a file, in the order of their times; none if it is missing or damaged."""
    paths: dict[float, Points] = {}
    for number, _, x, y in plane.read_rows(path, "path,t,x,y"):
        paths.setdefault(number, []).append((x, y))
    return list(paths.values())
