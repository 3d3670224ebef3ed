"""Scatter plots of points in the plane: the data, and the samples of each coupling."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.figures import plane
from reports.figures.drawing import drawing_style
from reports.figures.plane import Frame, Panel, Points
from reports.figures.style import INK, STYLE, Look, looks
from reports.figures.svg import Figure, to_svg
from reports.sections._first import first_runs
from reports.tables.groups import Group
from reports.tables.runs import Run
from reports.text import join

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

title = "Generated points"
place = 90

DATA = "data"
_MARGIN = 0.35  # of the range of the data, around it; points further out are counted, not drawn


@dataclass(frozen=True)
class Scatter:
    """The points of one comparison.

    Attributes:
        data: held-out points.
        samples: NFE and sampler, as in ``_setting``, to coupling to generated points, from the same
            latents.

    """

    data: Points
    samples: dict[str, dict[str, Points]]

    @property
    def caption(self) -> str:
        """The content of the panels."""
        sizes: set[int] = set()
        for by_coupling in self.samples.values():
            sizes.update(map(len, by_coupling.values()))
        count = f"{max(sizes):,}" if len(sizes) == 1 else f"up to {max(sizes):,}"
        settings = join([*self.samples])
        return (
            f"Held-out points of the data, and {count} points generated from the same noise samples"
            f" by the first seed of each coupling, along the fixed schedule: {settings}."
            " Points outside the frame are not drawn; their number stands above the panel."
        )

    @property
    def frame(self) -> Frame:
        """The part of the plane that all panels show, from the range of the data."""
        # By the data alone: one generated point far outside would compress all others.
        return Frame.around(self.data, _MARGIN)

    def outside(self, points: Points) -> int:
        """Number of points outside the frame."""
        frame = self.frame
        return sum(not frame.holds(point) for point in points)


def build(group: Group) -> Figure | None:
    """The scatter plots; None if the runs kept no points."""
    found = scatter(group.runs)
    if found is None:
        return None
    return Figure(title, draw(found, looks(group.couplings)), found.caption, wide=True)


def scatter(runs: Sequence[Run]) -> Scatter | None:
    """The points that the runs kept, of each coupling's first seed; None if they kept none."""
    data: Points = []
    by_setting: dict[tuple[str, int], dict[str, Points]] = {}
    for coupling, run in first_runs(runs).items():
        folder = run.path / "samples"
        # All runs of a comparison keep the same held-out points.
        data = data or _points(folder / "real.csv")
        for path in folder.glob("*nfe*.csv"):
            name = re.fullmatch(r"(?:(.+)-)?nfe(\d+)", path.stem)
            points = _points(path) if name else []
            if points:
                setting = (name[1] or "", int(name[2]))
                by_setting.setdefault(setting, {})[coupling] = points
    samples = {}
    # Heun's method first, which has no name in the files.
    for setting in sorted(by_setting):
        samples[_setting(*setting)] = by_setting[setting]
    return Scatter(data, samples) if data and samples else None


def _setting(sampler: str, nfe: int) -> str:
    """Words for a sampler and a number of evaluations; the usual sampler is not named."""
    return f"{sampler} NFE {nfe}".strip()


def draw(found: Scatter, look: dict[str, Look]) -> Markup:
    """The points as SVG."""
    rows = [f"{setting}: {', '.join(points)}" for setting, points in found.samples.items()]
    words = f"Points of the data and generated points. {'; '.join(rows)}."
    with drawing_style(STYLE):
        return to_svg(drawing(found, look), words)


def drawing(found: Scatter, look: dict[str, Look]) -> Canvas:
    """Panels in rows: for each NFE the data first, then the couplings, all on the same axes."""
    rows = []
    for setting, by_coupling in found.samples.items():
        row = [Panel(DATA, (plane.dots(found.data, INK),), setting)]
        for coupling, points in by_coupling.items():
            row.append(_panel(found, coupling, points, look[coupling].colour))
        rows.append(row)
    return plane.drawing(rows, found.frame)


def _panel(found: Scatter, coupling: str, points: Points, colour: str) -> Panel:
    """The points of a coupling, under its name and the number of those outside the frame: without
    it a poor model would look like a small sample.
    """
    outside = found.outside(points)
    more = [f"{outside:,} of {len(points):,} outside"] if outside else []
    return Panel(plane.heading(coupling, *more), (plane.dots(points, colour),))


def _points(path: Path) -> Points:
    """The finite points of a file; none if it is missing or damaged."""
    return [(x, y) for x, y in plane.read_rows(path, "x,y")]
