"""How many evaluations reach a given quality: the question that a curve over NFE answers sideways."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.tables.groups import Panel
from reports.tables.statistics import BASELINE, Cell, by_arm, ordered

FACTORS = (2.0, 1.25, 1.1)
"""Targets, as multiples of the best mean that random reaches at any NFE."""


def nfe_to_reach(curve: Mapping[int, float], target: float) -> float | None:
    """The smallest NFE at which the curve is at or below ``target``; None where it is above it
    everywhere.

    ``curve``: NFE to value. Between measured NFEs both logarithms are taken as linear. What holds
    at the first NFE already gives that one: fewer evaluations, not measured, may do. Values that
    are not finite are passed over.
    """
    before = None
    for nfe, value in sorted(curve.items()):
        if not math.isfinite(value):
            continue
        if value <= target:
            if before is None or value <= 0 or target <= 0:
                return float(nfe)
            part = math.log(before[1] / target) / math.log(before[1] / value)
            return before[0] * (nfe / before[0]) ** part
        before = (nfe, value)
    return None


@dataclass(frozen=True)
class Reached:
    """One arm and one target.

    Attributes: cell: seed to NFE, of the seeds that reach the target. Random stands beside it only
        where both reach it in
            all seeds and none at the first NFE: elsewhere the seeds left would make a biased
                comparison.
        seeds: how many seeds there are.
        bound: whether a seed is at the target at the first NFE already, so that fewer may do.

    """

    cell: Cell
    seeds: int
    bound: bool

    @property
    def everywhere(self) -> bool:
        """Whether every seed reaches it; only then a mean says something."""
        return len(self.cell.values) == self.seeds


@dataclass(frozen=True)
class Reach:
    """One table: factor to target, and the rows, each a schedule and an arm with what it needs for
    each target.
    """

    title: str
    targets: dict[float, float]
    rows: list[tuple[str, str, list[Reached]]]


def reach(panels: Sequence[Panel]) -> Reach | None:
    """NFE to reach the targets, for panels that differ in rho only: the targets are the same for
    all of them.

    None where random has no finite value above zero, so that there is no target.
    """
    means = [
        row[BASELINE].mean for panel in panels for row in panel.cells.values() if BASELINE in row
    ]
    best = min((mean for mean in means if math.isfinite(mean)), default=0.0)
    if best <= 0:
        return None
    targets = {factor: factor * best for factor in FACTORS}
    rows = []
    for panel in panels:
        columns = [_column(panel, target) for target in targets.values()]
        rows += [(panel.schedule, arm, [column[arm] for column in columns]) for arm in columns[0]]
    first = panels[0]
    return Reach(
        ", ".join(part for part in (first.metric, first.split, first.settings) if part),
        targets,
        rows,
    )


def _column(panel: Panel, target: float) -> dict[str, Reached]:
    """What each arm needs for one target."""
    curves: dict[str, dict[int, dict[int, float]]] = {
        arm: {} for arm in ordered(panel.rows["coupling"])
    }
    for nfe, row in panel.cells.items():
        for arm, cell in row.items():
            for seed, value in cell.values.items():
                curves[arm].setdefault(seed, {})[nfe] = value
    needed = {
        arm: {
            seed: nfe
            for seed, curve in seeds.items()
            if (nfe := nfe_to_reach(curve, target)) is not None
        }
        for arm, seeds in curves.items()
    }
    bound = {
        arm: any(nfe == min(curves[arm][seed]) for seed, nfe in needed[arm].items())
        for arm in curves
    }
    whole = {arm for arm in curves if len(needed[arm]) == len(curves[arm]) and not bound[arm]}
    compared = by_arm({arm: needed[arm] for arm in whole})
    return {
        arm: Reached(compared.get(arm) or Cell(needed[arm], {}), len(seeds), bound[arm])
        for arm, seeds in curves.items()
    }
