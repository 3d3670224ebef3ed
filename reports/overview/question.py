"""Sentences on the primary question: which one it is, and how all other claims are made."""

from __future__ import annotations

from reports.tables.arms import is_placebo
from reports.tables.groups import Group
from reports.tables.panels import Panel
from reports.tables.primary import comparisons, equal_arms, primary_panels
from reports.tables.statistics import OTHER, PRIMARY
from reports.text import join, nfe_range, plural


def question_line(group: Group) -> str:
    """The primary question, and how many comparisons are adjusted; empty if nothing is judged."""
    # The number is said, because it is what makes claims harder.
    adjusted = comparisons(group.panels)
    others = ""
    if adjusted:
        others = f"all other claims are adjusted ({plural(adjusted, 'comparison')})"
    if len(group.declared) > 1:
        return (
            f"No primary question: the runs declare several ({join(group.declared)}), so all claims"
            f" are adjusted ({plural(adjusted, 'comparison')})."
        )
    if group.question is None:
        return ""
    asked = primary_panels(group.panels, group.question)
    if not asked:
        return (
            f"The primary question, {group.question}, was not measured here, so all claims are"
            f" adjusted ({plural(adjusted, 'comparison')})."
        )
    origin = "declared with the runs" if group.question.declared else "the default; none declared"
    line = f"Primary question ({origin}): {asked[-1].title}, at NFE {group.question.nfe}"
    return f"{line}; {others}." if others else f"{line}."


def equal_lines(group: Group) -> list[str]:
    """Lines on couplings that gave the same network under several names."""
    return [
        f"{join(names)} gave identical results, to the last digit, so they are counted once."
        for names in equal_arms(group.panels)
    ]


def placebo_lines(group: Group) -> list[str]:
    """A line on couplings with random pairs, whose claims are wrong; none without them."""
    found = [arm for arm in group.own_couplings if is_placebo(arm)]
    if not found:
        return []
    if len(found) == 1:
        return [f"{found[0]} is a placebo: its pairs are random, so any claim about it is chance."]
    return [f"{join(found)} are placebos: their pairs are random, so any claim is chance."]


def role_of(panel: Panel) -> str:
    """Words for which claims of a panel are primary, and which adjusted; empty for none."""
    # By the cells, because a panel may show the numbers of the question without being its own.
    asked = []
    others = False
    for nfe, row in panel.cells.items():
        roles = {cell.role for cell in row.values()}
        asked += [nfe] if PRIMARY in roles else []
        others = others or OTHER in roles
    parts = [f"primary at NFE {nfe_range(asked, list(panel.cells))}"] if asked else []
    if others:
        parts.append("adjusted at all others" if asked else "adjusted")
    return ", ".join(parts)
