"""Figures of the metrics over NFE, and of the main costs."""

from __future__ import annotations

from dataclasses import dataclass

from reports.figures.svg import Figure
from reports.sections._draw import figures_of
from reports.tables.groups import Group
from reports.tables.panels import side_by_side

title = "Figures"
place = 10


@dataclass(frozen=True)
class Figures:
    """The figures of a comparison.

    Attributes:
        plain: of the sampling that all are compared with, and of values per run.
        others: of other samplers.

    """

    plain: list[Figure]
    others: list[Figure]


def build(group: Group) -> Figures | None:
    """The figures; None if no metric is drawn."""
    group = group.plain
    drawn = [panel for panel in group.curves if panel.info.figure]
    curves = side_by_side(drawn)
    plain = [shared for shared in curves if shared[0].plain]
    others = [shared for shared in curves if not shared[0].plain]
    # A metric that was measured over the noise level too has a profile, which says more than a bar.
    profiles = {panel.metric for panel in group.profiles}
    for panel in group.values:
        if panel.info.figure and panel.info.per == "run" and panel.metric not in profiles:
            plain.append([panel])
    if not plain and not others:
        return None
    return Figures(figures_of(group, plain), figures_of(group, others))
