"""Table of how straight the sampling paths are."""

from __future__ import annotations

from reports.sections._per_run import PerRun, table_of
from reports.tables.groups import Group

title = "Path curvature"
place = 60
folded = True


def build(group: Group) -> PerRun | None:
    """The table; None if there is no such value."""
    return table_of(group, "path")
