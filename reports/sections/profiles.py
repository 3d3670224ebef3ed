"""Figures of the metrics over the noise level."""

from __future__ import annotations

from reports.figures.svg import Figure
from reports.sections._draw import figures_of
from reports.tables.groups import Group
from reports.tables.panels import side_by_side

title = "By noise level"
place = 80
folded = True


def build(group: Group) -> list[Figure] | None:
    """The figures; None without a metric over sigma."""
    group = group.plain
    return figures_of(group, side_by_side(group.profiles)) or None
