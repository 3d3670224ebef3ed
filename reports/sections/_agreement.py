"""Comparison of hard maps with random jumps to the same targets.

The targets of a hard map are, in distribution, drawn at random, so its samples should be as good as
those of ``random-index``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.sections._levels import CONTROL, LEVEL, Spec
from reports.tables.arms import ordered
from reports.tables.metrics import Metrics
from reports.tables.select import at_fixed_schedule
from reports.tables.statistics import values_by
from reports.text import counts, number

if TYPE_CHECKING:
    import pandas as pd

# Three, because a map is compared at many places at once: chance exceeds two standard errors at
# one place in twenty even with many seeds.
TOLERANCE = 3  # standard errors
_OF_MAP = (*LEVEL, "tau", "project")  # options that a random jump does not have


@dataclass(frozen=True)
class Agreement:
    """One hard map compared with the random jump.

    Attributes:
        place: level, NFE and split in words.
        hard: mean over the seeds that both have.
        control: likewise, of the random jump.
        seeds: number of these seeds.
        errors: their difference in standard errors over the seeds; None with one seed.

    """

    place: str
    hard: float
    control: float
    seeds: int
    errors: float | None

    def __str__(self) -> str:
        return f"{self.place}: {number(self.hard)} vs {number(self.control)}"


def compare(
    hard: Mapping[int, float], control: Mapping[int, float], place: str = ""
) -> Agreement | None:
    """Compare seed by seed, because all starts share their latents; None without a shared seed.

    Args:
        hard: seed to value.
        control: likewise.
        place: for the result.

    """
    seeds = sorted(hard.keys() & control.keys())
    if not seeds:
        return None
    count = len(seeds)
    own = sum(hard[seed] for seed in seeds) / count
    other = sum(control[seed] for seed in seeds) / count
    differences = [hard[seed] - control[seed] for seed in seeds]
    return Agreement(place, own, other, count, _errors(differences))


def _errors(differences: list[float]) -> float | None:
    """The mean of differences in its standard errors; None for a single one."""
    count = len(differences)
    if count < 2:
        return None
    mean = sum(differences) / count
    squares = sum((difference - mean) ** 2 for difference in differences)
    error = math.sqrt(squares / (count - 1) / count)
    # Equal differences have no error: the two agree exactly, or differ by a constant.
    if error:
        return abs(mean) / error
    return math.inf if mean else 0.0


def agreement(curves: pd.DataFrame, metrics: Metrics) -> list[str]:
    """A sentence for each coupling and hard map: whether it and ``random-index`` give the same
    distances.
    """
    distances = metrics.distances(curves["metric"])
    if not distances:
        return []
    metric = distances[0]
    rows = curves[curves["metric"].eq(metric)]
    found: dict[tuple[str, str], list[Agreement]] = {}
    for coupling in ordered(rows["coupling"]):
        own = rows[rows["coupling"].eq(coupling)]
        # groupby leaves out starts whose level is unknown, which the page names.
        for place, part in own.groupby(["sampler", "nfe", "split", "level"]):
            for kind, result in _results(at_fixed_schedule(part), *place):
                found.setdefault((coupling, kind), []).append(result)
    lines = []
    for (coupling, kind), results in found.items():
        lines.append(f"{coupling}: {kind} and {CONTROL} {_sentence(metric, results)}")
    return lines


def _results(
    rows: pd.DataFrame, sampler: str, nfe: int, split: str, level: float
) -> list[tuple[str, Agreement]]:
    """Kind of each hard map at one place, and its comparison."""
    by_spec = {}
    for (start,), by_coupling in values_by(rows, "start").items():
        # The rows are of one coupling; unpacking would fail otherwise.
        (seeds,) = by_coupling.values()
        by_spec[Spec.of(start)] = seeds
    words = f"sigma {level:.3g}, NFE {nfe}, {split}"
    if sampler != "heun":
        words += f", {sampler}"
    hard = {Spec.of(start) for start in rows["start"][rows["hard"]].unique()}
    found = []
    for spec, seeds in by_spec.items():
        control = _control(spec, by_spec) if spec in hard else None
        result = compare(seeds, control, words) if control else None
        if result:
            found.append((str(spec.without(*LEVEL)), result))
    return found


def _control(spec: Spec, by_spec: Mapping[Spec, dict[int, float]]) -> dict[int, float] | None:
    """The values of the random jump with the same other options."""
    wanted = Spec(CONTROL, spec.without(*_OF_MAP).options)
    for other, seeds in by_spec.items():
        if other.without(*LEVEL) == wanted:
            return seeds
    return None


def _sentence(metric: str, results: list[Agreement]) -> str:
    known = [result for result in results if result.errors is not None]
    if not known:
        values = "; ".join(map(str, results))
        return f"share only one seed, so no error is known; {metric} at {values}"
    # Not ">": a nan, from a seed that diverged, is a difference as well.
    differing = [result for result in known if not result.errors <= TOLERANCE]
    seeds = counts({result.seeds for result in known})
    settings = "the only setting" if len(known) == 1 else f"all {len(known)} settings"
    settings += f" (level, NFE, split; {seeds} seeds)"
    if not differing:
        most = max(result.errors for result in known)
        return (
            f"agree in {metric} within three standard errors at {settings}; the largest difference"
            f" is {most:.1f}"
        )
    places = "; ".join(f"{result}, {result.errors:.1f} standard errors" for result in differing)
    return (
        f"differ in {metric} by more than three standard errors at {len(differing)} of {settings}:"
        f" {places}"
    )
