"""Curves and tables of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reports import text as words
from reports.figures import panels as figures
from reports.tables import metrics
from reports.tables.groups import Panel
from reports.tables.statistics import Cell, ordered

BAR_CHARTS = ("curvature_fm", "coupling_ms")
"""Metrics with one value an arm that are drawn as well as tabled."""


@dataclass(frozen=True)
class Figure:
    """One figure with its words; a wide one shows several panels side by side; ``marks`` says what
    its marks mean.
    """

    title: str
    svg: Markup
    caption: str
    wide: bool = False
    marks: str = ""


@dataclass(frozen=True)
class Curve:
    """A table of one metric over NFE: rows NFE, columns arms; ``about`` is what no figure says
    already.
    """

    panel: Panel
    arms: list[str]
    cells: dict[int | None, dict[str, Cell]]
    about: str

    @property
    def size(self) -> int:
        """In cells."""
        return len(self.arms) * len(self.cells)


def curve_of(panel: Panel, real: dict[str, float] | None) -> Curve:
    """``real``: what real images have; None where a figure says already what the metric is."""
    return Curve(
        panel,
        ordered(panel.rows.coupling),
        panel.cells,
        "" if real is None else _about(panel, real),
    )


def figure_of(shared: Sequence[Panel], look: dict[str, figures.Look]) -> Figure:
    """Panels that differ in rho only, as one figure."""
    panel = shared[0]
    svg = figures.curve(shared, look) if panel.over else figures.bars(panel, look)
    title = ", ".join(part for part in (panel.metric, panel.split, panel.settings) if part)
    title = (
        panel.title if len(shared) == 1 else f"{title}, {words.join([p.schedule for p in shared])}"
    )
    return Figure(title, svg, _about(panel), len(shared) > 1, figures.caption(shared))


def _about(panel: Panel, real: dict[str, float] | None = None) -> str:
    """What a metric says, of how many images, and what real images have where that is known."""
    counts = sorted({int(n) for n in panel.rows.n.dropna()})
    n = (
        f" n = {words.join([f'{count:,}' for count in counts])} generated images."
        if counts and panel.per_nfe
        else ""
    )
    floor = (
        f" Held-out real images: {words.number(real[panel.metric])}."
        if panel.metric in (real or {})
        else ""
    )
    return metrics.about(panel.metric) + n + floor
