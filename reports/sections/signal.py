"""Table of the training signal and of all other values per run."""

from __future__ import annotations

from reports.sections._per_run import PerRun, table_of
from reports.tables.groups import Group

title = "Training signal and other values"
place = 70
folded = True


def build(group: Group) -> PerRun | None:
    """The table; None if there is no such value."""
    return table_of(group, "cost", "path", but=True)
