"""Evaluations that a coupling needs to reach a given quality."""

from __future__ import annotations

from reports.tables.groups import Group
from reports.tables.panels import side_by_side
from reports.tables.reach import Reach, reach
from reports.tables.schedules import noun_of

title = "NFE to reach a target"
place = 20
folded = True


def build(group: Group) -> list[Reach] | None:
    """A table for each distance to the test split; None without such a distance."""
    judged = [p for p in group.plain.curves if p.judged and p.split == "test" and p.info.figure]
    tables = [reach(shared, noun_of(group.plain.rows)) for shared in side_by_side(judged)]
    return [table for table in tables if table] or None
