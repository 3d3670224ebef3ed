"""Table of metrics with one value per run, a row for each coupling."""

from __future__ import annotations

from dataclasses import dataclass

from reports.tables.groups import Group
from reports.tables.panels import Panel


@dataclass(frozen=True)
class PerRun:
    """One table.

    Attributes:
        panels: the columns.
        cut: coupling to the share of the transport cost that it saves; empty if that was not
            measured.

    """

    panels: list[Panel]
    cut: dict[str, float]


def table_of(group: Group, *kinds: str, but: bool = False) -> PerRun | None:
    """The table of the metrics of some kinds, or of all others.

    Args:
        group: the comparison.
        kinds: of metrics, see ``bench.record.infos.Info``.
        but: True for all metrics that are of other kinds.

    """
    group = group.plain
    panels = [panel for panel in group.values if (panel.info.kind in kinds) != but]
    return PerRun(panels, group.cost_cut) if panels else None
