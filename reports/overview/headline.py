"""One sentence per coupling: its quality at one NFE, and its cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reports.tables.arms import baseline_of, is_baseline
from reports.tables.groups import Group
from reports.tables.metrics import claim
from reports.tables.panels import Panel, side_by_side
from reports.tables.statistics import LEAST_SEEDS, Cell
from reports.text import number, percent

# Odd, as all NFEs of Heun's method are: two in each step but the last, which has one.
NFE = 13  # where quality is compared in a sentence, or at the nearest that was measured


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
    """A sentence for each coupling but random: the first judged distance to the test split at
    ``NFE``, and the cost.
    """
    shared = _judged(group)
    found = []
    for coupling in group.own_couplings:
        if not is_baseline(coupling):
            headline = Headline(coupling, _quality(shared, coupling), _cost(group, coupling))
            found += [headline] if headline.quality or headline.cost else []
    return found


def _judged(group: Group) -> list[Panel]:
    """One metric, at the fixed schedule and at each coupling's best."""
    first = group.first_judged
    for shared in side_by_side(group.panels):
        if first in shared:
            return [panel for panel in shared if panel.plain == first.plain]
    return []


def _quality(shared: list[Panel], coupling: str) -> str:
    if not shared:
        return ""
    first = shared[0]
    nfe = first.nearest(NFE)
    parts = []
    for panel in shared:
        text = _compared(panel, nfe, coupling)
        if text:
            parts.append(f"{panel.schedule}: {text}" if panel.schedule else text)
    if not parts:
        return ""
    title = f"{first.family_title} ({first.note})" if first.note else first.family_title
    return f"{title}, at NFE {nfe}{',' if first.schedule else ':'} {'; '.join(parts)}"


def _compared(panel: Panel, nfe: int, coupling: str) -> str:
    cell = panel.cells.get(nfe, {}).get(coupling)
    if cell is None or not cell.baseline:
        return ""
    # Over shared seeds only, so that a seed that one of both lacks moves neither.
    own, reference = cell.shared_means
    both = f"{number(own)} against {number(reference)} of {baseline_of(coupling)}"
    if cell.ratio is None:
        return f"{both} (no comparison)"
    words = claim(panel.info, cell)
    if cell.difference is None:
        words = f"no claim: {len(cell.baseline)} of the {LEAST_SEEDS} seeds that one needs"
    return f"{both}, {cell.change}: {words}"


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
