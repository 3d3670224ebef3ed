"""One sentence per coupling: its answer to the primary question, and its cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from reports.tables.arms import baseline_of, is_baseline
from reports.tables.floors import change
from reports.tables.groups import Group
from reports.tables.metrics import claim
from reports.tables.overhead import overhead
from reports.tables.panels import Panel, side_by_side
from reports.tables.primary import NFE, primary_panels
from reports.tables.statistics import LEAST_SEEDS, PRIMARY, Cell
from reports.text import added, number, plural


@dataclass(frozen=True)
class Headline:
    """One coupling compared with random.

    Attributes:
        coupling: its name.
        quality: empty if the two were not measured alike.
        cost: the work that it adds to the training; empty if that was not timed.

    """

    coupling: str
    quality: str
    cost: str


def headlines(group: Group) -> list[Headline]:
    """A sentence for each coupling but random: the primary question, and the cost.

    Without one it is the first judged distance to the test split at ``NFE``.
    """
    shared, nfe = _asked(group)
    work = overhead(group.rows)
    found = []
    for coupling in group.own_couplings:
        if not is_baseline(coupling):
            quality = _quality(shared, nfe, coupling)
            headline = Headline(coupling, quality, _cost(work, coupling))
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
    title = f"{first.family_heading} ({first.note})" if first.note else first.family_heading
    return f"{title}, at NFE {nfe}{',' if first.schedule else ':'} {'; '.join(parts)}"


def _compared(panel: Panel, nfe: int, coupling: str) -> str:
    cell = panel.cells.get(nfe, {}).get(coupling)
    if cell is None or not cell.baseline:
        return ""
    # The means of the comparison, so that their quotient is the change next to them.
    own, reference = cell.shared_means
    both = f"{number(own)} vs {number(reference)} for {baseline_of(coupling)}"
    if cell.ratio is None and cell.estimate is None:
        return f"{both} (no comparison)"
    if cell.estimate is None:
        seeds = f"{plural(len(cell.baseline), 'seed')}, {LEAST_SEEDS} needed for a claim"
        return f"{both} ({change(cell, panel.floor)}; {seeds})"
    numbers = both if cell.ratio is None else f"{both}, {change(cell, panel.floor)}"
    role = "primary" if cell.role == PRIMARY else "adjusted"
    return f"{numbers}: {claim(panel.info, cell)}, {role}"


def _cost(work: Mapping[str, Cell], coupling: str) -> str:
    """One number, because times of runs on a busy machine cannot be compared: the share is taken
    within each run.
    """
    mean = work[coupling].mean if coupling in work else math.nan
    return f"training work {added(mean)}" if math.isfinite(mean) else ""
