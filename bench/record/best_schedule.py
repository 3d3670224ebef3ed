"""The best schedule for each NFE, chosen from a first pass over schedules x NFE.

An evaluation chooses it and records it as the rows ``best_schedule_<features>``; reports show what
these rows say.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bench.record.measurement import Measurement
from bench.record.specs import karras

# Each with the name of features:
GRID = "grid_fd_"  # the metric of the first pass
NOISE = "grid_gain_se_"  # standard error of ln(distance / that at the fixed schedule)
BEST = "best_schedule_"  # the schedule that was chosen by them
SEEDS = "search_seeds_"  # number of runs that chose it together
EARLIER_BEST = "best_rho_"  # what earlier versions, which knew Karras' schedule only, called it

CLEAR = 2.0  # standard errors that a gain must have, so that the fixed schedule is left


@dataclass(frozen=True)
class Tried:
    """A schedule in the first pass of one run.

    Attributes:
        row: its distance.
        noise: standard error of ln(distance / that at the fixed schedule), 0 at the fixed one; None
            in runs of earlier versions.

    """

    row: Measurement
    noise: float | None

    @property
    def is_finite(self) -> bool:
        """True if all of its samples were."""
        return math.isfinite(self.row.value)


Pass = dict[str, Tried]
"""All schedules that one run tried at one setting and NFE."""

Cell = tuple[int, str]
"""A cell of the first pass: NFE, and the spec of a schedule."""


@dataclass(frozen=True)
class SharedChoice:
    """A choice that runs of one coupling, which differ in the seed only, make together.

    Attributes:
        seeds: number of these runs.
        cells: of the first pass that a run has yet to measure, before the choice can be made.
        best: rows ``best_schedule_<features>``; empty while cells are missing.

    """

    seeds: int
    cells: tuple[Cell, ...] = ()
    best: tuple[Measurement, ...] = ()


def parameter(schedule: str) -> float:
    """The number that distinguishes a schedule from others of its family: 7 of ``karras:rho=7``.

    It is the first option that is a number; 0 for a schedule without one.
    """
    # Here, because the package imports torch, which a report does not need.
    from couplings.spec import split_spec

    _, options = split_spec(schedule)
    for text in options.values():
        try:
            return float(text)
        except ValueError:
            continue
    return 0.0


def as_of_today(row: Measurement) -> Measurement:
    """The row as today's version would have recorded it.

    Earlier versions knew Karras' schedule only: they recorded its rho and no schedule, and their
    choice as ``best_rho_<features>`` with the exponent as value.
    """
    if row.metric.startswith(EARLIER_BEST):
        metric = row.metric.replace(EARLIER_BEST, BEST, 1)
        row = replace(row, metric=metric, rho=row.value)
    if row.schedule is None and row.rho is not None:
        row = replace(row, schedule=karras(row.rho))
    return row


def choose(*searches: Iterable[Measurement]) -> list[Measurement]:
    """Rows ``best_schedule_<features>``, one for each setting and NFE.

    Their value is the parameter of the chosen schedule, their schedule its spec, and their rho that
    of Karras' schedule. Each search is the measurements of one run. Several runs of one coupling,
    which differ in the seed only, choose together.

    The fixed schedule is chosen unless another one's gain is beyond its noise: of those whose mean
    over the runs of ln(distance / that at the fixed schedule) is below zero by ``CLEAR`` standard
    errors, the one with the lowest mean. Distances are ``grid_fd_<features>`` to the training
    split. If the pass was made with several numbers of images, the largest one counts.

    Runs of earlier versions recorded no noise: of these the lowest distance is chosen.
    """
    passes = [tried(search) for search in searches]
    chosen = []
    places: set[tuple] = set()
    for each in passes:
        places.update(each)
    for place in sorted(places):
        # A run that was not measured at this NFE has no say.
        several = [each[place] for each in passes if place in each]
        schedule = _best(several)
        if schedule is not None:
            best = several[0][schedule].row
            metric = best.metric.replace(GRID, BEST)
            # All else is the place that was chosen for, and n: the images it was chosen by.
            chosen.append(replace(best, metric=metric, value=parameter(schedule)))
    return chosen


def tried(search: Iterable[Measurement]) -> dict[tuple, Pass]:
    """The schedules that a run tried, by metric, sampler, start, guidance and NFE.

    Those with the noise of their gain count before those without, then the largest number of
    images.
    """
    distances: dict[tuple, list[Measurement]] = {}
    noise: dict[tuple, float] = {}
    for each in search:
        row = as_of_today(each)
        if row.metric.startswith(GRID) and row.split == "train":
            # Empty texts for None, so that places can be sorted
            place = (row.metric, row.sampler or "", row.start or "", row.guidance or "", row.nfe)
            distances.setdefault(place, []).append(row)
        elif row.metric.startswith(NOISE):
            noise[replace(row, metric=row.metric.replace(NOISE, GRID)).key] = row.value
    passes = {}
    # A pass that was made again with other numbers of images leaves both sets of rows.
    for place, rows in distances.items():
        known = [row for row in rows if row.key in noise] or rows
        most = max(row.n or 0 for row in known)
        full = [row for row in known if (row.n or 0) == most]
        passes[place] = {row.schedule: Tried(row, noise.get(row.key)) for row in full}
    return passes


def cells(search: Iterable[Measurement], features: str) -> list[Cell]:
    """The cells that a run tried in some features."""
    found = []
    for place, schedules in tried(search).items():
        if place[0] == f"{GRID}{features}":
            found += [(place[-1], schedule) for schedule in schedules]
    return found


def judge(metrics: Iterable[str], specs: Sequence[str]) -> str:
    """Name of the features that choose schedules, of those that a first pass was measured in.

    As in ``bench.metrics.contract.Subject.judge``, a classifier's come first.

    Args:
        metrics: names of measured metrics.
        specs: the features that were asked for; by default a classifier's and pixels.

    """
    names = ["classifier", *(spec.partition(":")[0] for spec in specs)]
    if specs and "classifier" not in specs:
        names.remove("classifier")
    measured = sorted({name.removeprefix(GRID) for name in metrics if name.startswith(GRID)})
    wanted = [name for name in names if name in measured]
    return (wanted or measured)[0]


def _best(several: Sequence[Pass]) -> str | None:
    """The choice of some runs at one setting and NFE; None if no schedule has finite samples."""
    # A mean over other runs does not compare.
    common = set(several[0]).intersection(*several[1:])
    finite = set(common)
    for each in several:
        finite -= {name for name in common if not each[name].is_finite}
    fixed = next((name for name in sorted(common) if several[0][name].noise == 0), None)
    if not finite:
        return None
    # Where the fixed schedule diverges, anything else is a gain.
    if fixed not in finite:
        means = {}
        for name in finite:
            means[name] = _mean([each[name].row.value for each in several])
    else:
        means = {fixed: 0.0}
        for name in finite:
            mean, error = _gain(several, name, fixed)
            if mean < -CLEAR * error:
                means[name] = mean
    # Ties are broken by the schedule, so that the choice does not depend on the order of rows.
    return min(means, key=lambda name: (means[name], parameter(name), name))


def _gain(several: Sequence[Pass], name: str, fixed: str) -> tuple[float, float]:
    """Mean over runs of ln(distance / that at the fixed schedule), and its standard error; NaN
    where a distance is 0.
    """
    ratios = []
    for each in several:
        value = each[name].row.value
        reference = each[fixed].row.value
        ratios.append(math.log(value / reference) if value > 0 and reference > 0 else math.nan)
    mean = _mean(ratios)
    within = _mean([(each[name].noise or 0.0) ** 2 for each in several])
    between = 0.0
    if len(ratios) > 1:
        between = sum((ratio - mean) ** 2 for ratio in ratios) / (len(ratios) - 1)
    # The spread between seeds contains the noise of the latents. Of two or three seeds it may be
    # small by chance, so it is never taken below that noise.
    return mean, math.sqrt(max(within, between) / len(ratios))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
