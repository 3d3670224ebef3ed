"""The first thing that a reader asks, in a sentence an arm: what it does to quality at one NFE, and
what it costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.sections.cost import NFE
from reports.tables.groups import Panel, side_by_side
from reports.tables.statistics import BASELINE, LEAST_SEEDS, Cell, change, ordered
from reports.text import number, percent

_VERDICTS = {
    "lower": "lower, so better",
    "higher": "higher, so worse",
    "unclear": "no clear difference",
}


@dataclass(frozen=True)
class Headline:
    """One arm against random: ``quality`` is empty where both were not measured, ``cost`` where
    nothing was timed.
    """

    arm: str
    quality: str
    cost: str


def headlines(panels: Sequence[Panel]) -> list[Headline]:
    """A sentence for each arm but random: the first judged distance to the test split at ``NFE``,
    and the cost.
    """
    judged = [p for p in panels if p.judged and p.split == "test" and p.plain]
    shared = side_by_side(judged)[:1]  # one metric, at the fixed rho and at each arm's best
    per_arm = {p.metric: p.cells[None] for p in panels if p.over is None}
    arms = ordered(
        arm for p in panels for row in p.cells.values() for arm in row if arm != BASELINE
    )
    found = [
        Headline(arm, _quality(shared[0], arm) if shared else "", _cost(per_arm, arm))
        for arm in arms
    ]
    return [headline for headline in found if headline.quality or headline.cost]


def _quality(shared: Sequence[Panel], arm: str) -> str:
    first = shared[0]
    nfe = min(first.cells, key=lambda nfe: abs(math.log(nfe / NFE)))
    parts = [(panel.schedule, _compared(panel, nfe, arm)) for panel in shared]
    said = "; ".join(
        f"{schedule}: {text}" if schedule else text for schedule, text in parts if text
    )
    named = ", ".join(part for part in (first.metric, first.split, first.settings) if part)
    where = f"{named} ({first.note}), at NFE {nfe}" if first.note else f"{named}, at NFE {nfe}"
    return said and f"{where}{',' if first.schedule else ':'} {said}"


def _compared(panel: Panel, nfe: int, arm: str) -> str:
    cell = panel.cells.get(nfe, {}).get(arm)
    if cell is None or not cell.baseline:
        return ""
    both = (
        f"{_shared_mean(cell.values, cell)} against {_shared_mean(cell.baseline, cell)} of"
        f" {BASELINE}"
    )
    if cell.ratio is None:
        return f"{both} (no comparison)"
    shared = len(cell.baseline)
    claim = (
        _VERDICTS[cell.verdict]
        if cell.difference
        else f"no claim: {shared} of the {LEAST_SEEDS} seeds it takes"
    )
    return f"{both}, {change(cell.ratio, cell.ratio_interval)} ({claim})"


def _shared_mean(values: dict[int, float], cell: Cell) -> str:
    return number(sum(values[seed] for seed in cell.baseline) / len(cell.baseline))


def _cost(per_arm: dict[str, dict[str, Cell]], arm: str) -> str:
    def mean(metric: str) -> float | None:
        cell = per_arm.get(metric, {}).get(arm)
        return cell.mean if cell and math.isfinite(cell.mean) else None

    parts = []
    if (fit := mean("coupling_fit_seconds")) is not None:
        parts.append(f"{number(fit)} s to fit once")
    if (solved := mean("coupling_ms")) is not None:
        parts.append(f"{number(solved)} ms to couple a pool")
    if (share := mean("coupling_share")) is not None:
        parts.append(f"the solver at work for {percent(share)} of the training time")
    if (speed := mean("images_per_s")) is not None:
        parts.append(f"{number(speed)} training images a second")
    return ", ".join(parts)
