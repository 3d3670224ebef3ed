"""Table of times and transport costs."""

from __future__ import annotations

from reports.sections._per_run import PerRun, table_of
from reports.tables.groups import Group

title = "Cost of the coupling"
place = 40
folded = True


def build(group: Group) -> PerRun | None:
    """The table; None if there is no such value."""
    return table_of(group, "cost")
