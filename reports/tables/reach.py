"""Evaluations that a coupling needs to reach a given quality, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.record.infos import Info
from reports.tables.arms import is_baseline, ordered
from reports.tables.panels import Panel
from reports.tables.statistics import Cell, by_coupling

NFE = Info("nfe", "Evaluations that reach the target.", "lower")
FACTORS = (2.0, 1.25, 1.1)  # targets, as multiples of the best mean of random at any NFE


@dataclass(frozen=True)
class Reached:
    """One coupling and one target.

    Attributes:
        cell: seed to NFE, for the seeds that reach the target. It is compared with random only if
            both reach it in all seeds and none at the first NFE; the seeds left otherwise would
            make a biased comparison.
        seeds: number of all seeds.
        bound: True if a seed reaches the target at the first NFE already, so fewer may do.

    """

    cell: Cell
    seeds: int
    bound: bool

    @property
    def everywhere(self) -> bool:
        """True if every seed reaches it; only then a mean says something."""
        return len(self.cell.values) == self.seeds


@dataclass(frozen=True)
class Reach:
    """One table.

    Attributes:
        title: the metric.
        targets: factor to target.
        rows: schedule, coupling, and its NFE for each target.
        noun: what the schedules differ in, such as ``rho``.
        info: description of the NFE.

    """

    title: str
    targets: dict[float, float]
    rows: list[tuple[str, str, list[Reached]]]
    noun: str
    info: Info = NFE


def nfe_to_reach(curve: Mapping[int, float], target: float) -> float | None:
    """The smallest NFE at which a curve is at or below ``target``; None if it is above everywhere.

    Between measured NFEs both logarithms are taken as linear. A curve that is below at the first
    NFE gives that one: fewer evaluations, not measured, may do. Values that are not finite are
    skipped.

    Args:
        curve: NFE to value.
        target: to reach.

    """
    before = None
    for nfe, value in sorted(curve.items()):
        if not math.isfinite(value):
            continue
        if value <= target:
            # Neither a logarithm nor a point before: the NFE itself is the answer.
            if before is None or value <= 0 or target <= 0:
                return float(nfe)
            last, height = before
            # Distances fall roughly as a power of NFE, which is a straight line in both logarithms.
            part = math.log(height / target) / math.log(height / value)
            return last * (nfe / last) ** part
        before = (nfe, value)
    return None


def reach(panels: Sequence[Panel], noun: str = "rho") -> Reach | None:
    """NFE to reach the targets, for panels that differ in schedule only: all have the same targets.

    None if random has no finite value above zero, so that there is no target.
    """
    means = []
    for panel in panels:
        for row in panel.cells.values():
            means += [cell.mean for arm, cell in row.items() if is_baseline(arm)]
    best = min((mean for mean in means if math.isfinite(mean)), default=0.0)
    if best <= 0:
        return None
    # Multiples of random's best, so that couplings and schedules share their targets.
    targets = {factor: factor * best for factor in FACTORS}
    rows = []
    for panel in panels:
        columns = [_column(panel, target) for target in targets.values()]
        for coupling in columns[0]:
            rows.append((panel.schedule, coupling, [column[coupling] for column in columns]))
    return Reach(panels[0].family_heading, targets, rows, noun)


def _column(panel: Panel, target: float) -> dict[str, Reached]:
    """Each coupling and one target."""
    found = {}
    for coupling in ordered(panel.rows["coupling"]):
        # For each seed, because the NFE of the mean curve would have no spread over seeds.
        curves = _by_seed(panel, coupling)
        needed = {seed: nfe_to_reach(curve, target) for seed, curve in curves.items()}
        needed = {seed: nfe for seed, nfe in needed.items() if nfe is not None}
        bound = any(nfe == min(curves[seed]) for seed, nfe in needed.items())
        found[coupling] = Reached(Cell(needed, {}), len(curves), bound)
    complete = {}
    for coupling, reached in found.items():
        if reached.everywhere and not reached.bound:
            complete[coupling] = reached.cell.values
    # Random is the baseline only if it is complete itself.
    for coupling, cell in by_coupling(complete).items():
        found[coupling] = Reached(cell, found[coupling].seeds, bound=False)
    return found


def _by_seed(panel: Panel, coupling: str) -> dict[int, dict[int, float]]:
    """Seed to NFE to value of one coupling."""
    curves: dict[int, dict[int, float]] = {}
    for nfe, row in panel.cells.items():
        if coupling in row:
            for seed, value in row[coupling].values.items():
                curves.setdefault(seed, {})[nfe] = value
    return curves
