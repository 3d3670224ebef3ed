"""One sentence per coupling: its answer to the primary question, and its cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reports.tables.arms import baseline_of, is_baseline
from reports.tables.floors import change
from reports.tables.groups import Group
from reports.tables.metrics import claim
from reports.tables.panels import Panel, side_by_side
from reports.tables.primary import NFE, primary_panels
from reports.tables.statistics import LEAST_SEEDS, PRIMARY, Cell
from reports.text import number, percent


@dataclass(frozen=True)
class Headline:
    """One coupling against random.

    Attributes:
        coupling: its name.
        quality: empty if the two were not measured alike.
        cost: empty if nothing was timed.

    """

    coupling: str
    quality: str
    cost: str


def headlines(group: Group) -> list[Headline]:
    """A sentence for each coupling but random: the primary question, and the cost.

    Without one it is the first judged distance to the test split at ``NFE``.
    """
    shared, nfe = _asked(group)
    found = []
    for coupling in group.own_couplings:
        if not is_baseline(coupling):
            quality = _quality(shared, nfe, coupling)
            headline = Headline(coupling, quality, _cost(group, coupling))
            found += [headline] if headline.quality or headline.cost else []
    return found


def _asked(group: Group) -> tuple[list[Panel], int]:
    """One metric, at the fixed schedule and at each coupling's best, and the NFE to speak of."""
    if group.question:
        asked = primary_panels(group.panels, group.question)
        if asked:
            return asked, group.question.nfe
    first = group.first_judged
    for shared in side_by_side(group.panels):
        if any(panel is first for panel in shared):
            return [panel for panel in shared if panel.plain == first.plain], first.nearest(NFE)
    return [], NFE


def _quality(shared: list[Panel], nfe: int, coupling: str) -> str:
    parts = []
    for panel in shared:
        text = _compared(panel, nfe, coupling)
        if text:
            parts.append(f"{panel.schedule}: {text}" if panel.schedule else text)
    if not parts:
        return ""
    first = shared[0]
    title = f"{first.family_title} ({first.note})" if first.note else first.family_title
    return f"{title}, at NFE {nfe}{',' if first.schedule else ':'} {'; '.join(parts)}"


def _compared(panel: Panel, nfe: int, coupling: str) -> str:
    cell = panel.cells.get(nfe, {}).get(coupling)
    if cell is None or not cell.baseline:
        return ""
    # The means of the comparison, so that their quotient is the change next to them.
    own, reference = cell.shared_means
    both = f"{number(own)} against {number(reference)} of {baseline_of(coupling)}"
    if cell.ratio is None and cell.estimate is None:
        return f"{both} (no comparison)"
    numbers = both if cell.ratio is None else f"{both}, {change(cell, panel.floor)}"
    if cell.estimate is None:
        seeds = f"{len(cell.baseline)} of the {LEAST_SEEDS} seeds that one needs"
        return f"{numbers}; no claim: {seeds}"
    role = "primary" if cell.role == PRIMARY else "adjusted"
    return f"{numbers}: {claim(panel.info, cell)}, {role}"


def _cost(group: Group, coupling: str) -> str:
    cells: dict[str, Cell] = {}
    for panel in group.values:
        if coupling in panel.cells[None]:
            cells[panel.metric] = panel.cells[None][coupling]
    # In the order of a training: fitted once, then solved for every pool.
    phrases = (
        ("coupling_fit_seconds", number, "{} s to fit once"),
        ("coupling_ms", number, "{} ms to couple a pool"),
        ("coupling_share", percent, "the solver at work for {} of the training time"),
        ("images_per_s", number, "{} training images a second"),
    )
    parts = []
    for metric, form, phrase in phrases:
        if metric in cells and math.isfinite(cells[metric].mean):
            parts.append(phrase.format(form(cells[metric].mean)))
    return ", ".join(parts)
