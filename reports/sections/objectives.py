"""Training objectives compared with each other, for each coupling."""

from __future__ import annotations

from dataclasses import dataclass

from reports.sections._versus import Versus, versus
from reports.tables.arms import EDM, Arm, arms_of
from reports.tables.groups import Group

title = "Objectives compared"
place = 34
folded = True


@dataclass(frozen=True)
class Objectives:
    """The section of one comparison.

    Attributes:
        objectives: their names, EDM first.
        tables: a table for each metric.

    """

    objectives: list[str]
    tables: list[Versus]


def build(group: Group) -> Objectives | None:
    """Every other objective against EDM; None with one objective, or without EDM."""
    arms = arms_of(group.plain.rows)
    others = sorted({arm.objective for arm in arms} - {EDM})
    tables = versus(group, pairs(arms))
    return Objectives([EDM, *others], tables) if tables else None


def pairs(arms: list[Arm]) -> list[tuple[str, str]]:
    """Each arm of another objective with EDM's of the same coupling."""
    found = []
    for arm in arms:
        if arm.objective == EDM:
            continue
        # Of one coupling, so that nothing but the objective makes the difference.
        same = [one for one in arms if one.objective == EDM and one.coupling == arm.coupling]
        # EDM's own law if that was trained, which is first: its arm has the shortest name.
        found += [(arm.name, same[0].name)] if same else []
    return found
