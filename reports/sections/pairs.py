"""Pairs that each coupling makes in the plane: lines from noise samples to points of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

title = "Pairs of one pool"
place = 88
folded = True

_MARGIN = 0.05  # of the range of all pairs, around it


@dataclass(frozen=True)
class PairedPoints:
    """The pairs of one comparison: coupling to lines of two points, noise sample and data."""

    lines: dict[str, list[Points]]

    @property
    def caption(self) -> str:
        """The content of the panels."""
        counts = sorted({len(lines) for lines in self.lines.values()})
        many = join([str(count) for count in counts])
        return (
            f"The first {many} pairs of a pool that was not used for training, from the first seed"
            " of each coupling: lines from noise samples (grey dots) to points of the data"
            " (coloured)."
        )

    @property
    def frame(self) -> Frame:
        """The part of the plane that all panels show: all of it."""
        points: Points = []
        for lines in self.lines.values():
            for line in lines:
                points += line
        return Frame.around(points, _MARGIN)


def build(group: Group) -> Figure | None:
    """The pairs; None if the runs kept none."""
    found = pairs(group.runs)
    if found is None:
        return None
    return Figure(title, draw(found, looks(group.couplings)), found.caption, wide=True)


def pairs(runs: Sequence[Run]) -> PairedPoints | None:
    """The pairs that each coupling's first seed kept; None if none did."""
    by_coupling = {}
    for coupling, run in first_runs(runs).items():
        rows = plane.read_rows(run.path / "samples" / "pairs.csv", "noise_x,noise_y,x,y")
        if rows:
            by_coupling[coupling] = [[(a, b), (x, y)] for a, b, x, y in rows]
    return PairedPoints(by_coupling) if by_coupling else None


def draw(found: PairedPoints, look: dict[str, Look]) -> Markup:
    """The pairs as SVG."""
    words = f"Pairs of noise samples and points of the data: {'; '.join(found.lines)}."
    with drawing_style(STYLE):
        return to_svg(drawing(found, look), words)


def drawing(found: PairedPoints, look: dict[str, Look]) -> Canvas:
    """A panel for each coupling, all on the same axes."""
    row = []
    for coupling, lines in found.lines.items():
        colour = look[coupling].colour
        layers = (
            Layer(lines, colour, width=0.4, alpha=0.5),
            plane.dots([noise for noise, _ in lines], INK, size=2, alpha=0.4),
            plane.dots([point for _, point in lines], colour, size=2.5, alpha=1.0),
        )
        row.append(Panel(plane.heading(coupling), layers))
    return plane.drawing([row], found.frame)
