"""Means over seeds and comparisons with random pairing, seed by seed.

The value of a cell is the arithmetic mean over its seeds, as tables of papers have it. A comparison
is made on the logarithms: its ratio is one of geometric means, which no single high seed dominates,
and its interval stays above zero. The quotient of two values of a table is therefore near the ratio
next to them, but not equal to it: with seeds that vary by 10 %, they differ by half a percent or
less. In the published studies they are on two sides of 1 in 1 % of cells, in none that is claimed.
Headlines give the geometric means, whose quotient the ratio is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from reports import text
from reports.tables.arms import baseline_of, is_baseline, ordered
from reports.tables.intervals import (
    LEVEL,
    Estimate,
    Interval,
    baseline_mean,
    difference,
    mean_difference,
)

if TYPE_CHECKING:
    import pandas as pd

# With two shared seeds, chance alone puts both on one side every other time.
LEAST_SEEDS = 3
PRIMARY = "primary"
OTHER = "other"


@dataclass(frozen=True)
class Cell:
    """One coupling in one place of a table, such as one NFE.

    Attributes:
        values: seed to value.
        baseline: seed to value of random pairing, for the seeds that both have; empty for random
            pairing itself.
        extra: seed to value of random pairing, for the seeds that this coupling lacks.
        role: ``primary`` for the question that was declared before, ``other`` for a comparison
            that belongs to a family; empty for one that is claimed by itself.
        adjusted: p value of a comparison of a family, adjusted for that family; else None.

    """

    values: dict[int, float]
    baseline: dict[int, float]
    extra: dict[int, float] = field(default_factory=dict)
    role: str = ""
    adjusted: float | None = None

    @cached_property
    def mean(self) -> float:
        """Arithmetic mean over seeds; a seed that diverged makes it nan or inf rather than being
        dropped.
        """
        return _mean(self.values.values())

    @cached_property
    def spread(self) -> float | None:
        """Sample standard deviation over seeds; None with one seed or a value that is not
        finite.
        """
        if len(self.values) < 2 or not math.isfinite(self.mean):
            return None
        # Over n - 1, because the mean comes from the same seeds: over n, the spread of three would
        # come out 18 % too small.
        squares = [(value - self.mean) ** 2 for value in self.values.values()]
        return math.sqrt(sum(squares) / (len(squares) - 1))

    @cached_property
    def compared(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values of the comparison: own ``[n]`` and random's ``[n]`` at the shared seeds, and
        random's ``[m]`` at its other seeds.
        """
        own = [self.values[seed] for seed in self.baseline]
        shared = [*self.baseline.values()]
        extra = [*self.extra.values()]
        return np.array(own, float), np.array(shared, float), np.array(extra, float)

    @cached_property
    def is_relative(self) -> bool:
        """True if the comparison has a ratio: all its values are finite and above zero.

        An unbiased distance can be below zero: 0.1 is not -2 times as high as -0.05. Such
        comparisons are made by the difference.
        """
        # One value at or below zero decides: its logarithm would not exist.
        every = np.concatenate(self.compared)
        return bool(self.baseline) and bool((np.isfinite(every) & (every > 0)).all())

    @cached_property
    def _scaled(self) -> list[np.ndarray]:
        """``compared`` on the scale of the comparison: logarithms if there is a ratio."""
        return [np.log(side) if self.is_relative else side for side in self.compared]

    @cached_property
    def shared_means(self) -> tuple[float, float]:
        """Mean of this coupling over the seeds that both have and that of random pairing which the
        comparison uses; nan without such seeds.

        They are geometric if the comparison has a ratio, which is then their quotient.
        """
        if not self.baseline:
            return math.nan, math.nan
        # Seeds that only this coupling has would shift its mean, as an effect of pairing does.
        own = float(np.mean(self._scaled[0]))
        reference = float(baseline_mean(*self._scaled[1:]))
        return (math.exp(own), math.exp(reference)) if self.is_relative else (own, reference)

    @cached_property
    def ratio(self) -> float | None:
        """Geometric mean of the ratio to random pairing; None where undefined.

        Over the seeds that both have; further seeds of random pairing count as ``difference`` of
        ``reports.tables.intervals`` says.
        """
        return math.exp(mean_difference(*self._scaled)) if self.is_relative else None

    @cached_property
    def estimate(self) -> Estimate | None:
        """Mean difference from random pairing with its error: of logarithms, or of the values if
        these have no ratio.

        None with fewer than ``LEAST_SEEDS`` shared seeds, or if one of their values is not finite.
        """
        # Seed by seed, because runs of one seed share data order and latents: their differences
        # vary less than the runs themselves.
        enough = len(self.baseline) >= LEAST_SEEDS
        if not enough or not np.isfinite(np.concatenate(self._scaled)).all():
            return None
        return difference(*self._scaled)

    @cached_property
    def p(self) -> float | None:
        """Two-sided p value of no difference, not adjusted; None without an estimate."""
        return None if self.estimate is None else float(self.estimate.p)

    @cached_property
    def ratio_interval(self) -> Interval | None:
        """95 % interval of ``ratio``: exp of that of the logarithms. None where either is
        undefined.
        """
        if self.estimate is None or not self.is_relative:
            return None
        low, high = self.estimate.ends
        return Interval(math.exp(low), math.exp(high))

    @property
    def side(self) -> str:
        """``lower`` or ``higher`` than random if that can be claimed, else ``unclear``.

        It can if the 95 % interval excludes no change; in a family, if the adjusted p value is
        below 0.05.
        """
        if self.estimate is None:
            return "unclear"
        # By the p value, not by the interval: only that can be adjusted for a family.
        decides = self.p if self.adjusted is None else self.adjusted
        # Runs that are equal have p = 1.
        if decides >= 1 - LEVEL:
            return "unclear"
        return "lower" if self.estimate.mean < 0 else "higher"

    @property
    def change(self) -> str:
        """The ratio to random pairing as change, with its interval: ``−38 % [−45, −30]``."""
        if self.ratio_interval is None:
            return text.change(self.ratio)
        return text.change(self.ratio, self.ratio_interval.low, self.ratio_interval.high)


def against(values: Mapping[int, float], reference: Mapping[int, float]) -> Cell:
    """The cell of an arm, compared with another: seed to value of each."""
    # Sorted, because the sum of floats depends on their order: the last digits of a mean would
    # follow the names of the run folders.
    seeds = sorted(reference)
    shared = {seed: reference[seed] for seed in seeds if seed in values}
    extra = {seed: reference[seed] for seed in seeds if seed not in values}
    return Cell(dict(values), shared, extra)


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    # statistics.mean raises on inf - inf; this gives nan
    return sum(values) / len(values)


def values_by(rows: pd.DataFrame, *keys: str, value: str = "value") -> dict[tuple, dict]:
    """Keys, None where empty, to coupling to seed to value: the one way from rows to numbers.

    Of estimates from several numbers of images, the one from most images counts. One pass over
    lists, because grouping a data frame of 500 runs takes a minute.

    Args:
        rows: of the tidy table.
        keys: columns.
        value: column of the values.

    """
    # Empty keys are None: nan is not equal to itself, so each empty cell would get its own entry.
    found: dict[tuple, dict] = {}
    for place, coupling, seed, number in _entries(rows, keys, value):
        found.setdefault(place, {}).setdefault(coupling, {})[seed] = number
    return found


def cells(rows: pd.DataFrame, over: str | None = "nfe") -> dict[Any, dict[str, Cell]]:
    """Value of the column ``over`` to coupling to Cell, for rows of one metric in one setting.

    Keys are in ascending order; the only key is None if ``over`` is None.

    Raises:
        ValueError: a seed of a coupling has two values in one place, so the rows mix settings.

    """
    by_place = values_by(rows, *([over] if over else []))
    found: dict[Any, dict[str, Cell]] = {}
    count = 0
    for place in sorted(by_place):
        found[place[0] if over else None] = by_coupling(by_place[place])
        count += sum(map(len, by_place[place].values()))
    # A dictionary silently keeps the last of two values, so the rows are counted.
    if count != len(rows):
        raise ValueError(f"two values of one seed over {over or 'run'}: select one setting")
    return found


def _entries(rows: pd.DataFrame, keys: Iterable[str], value: str) -> Iterator[tuple]:
    """Keys, coupling, seed and value of each row, the one from most images last."""
    # Later rows overwrite earlier ones, so the estimate from most images wins.
    rows = rows.sort_values("n", kind="stable", na_position="first") if "n" in rows else rows
    # Object columns, because no other type can hold None.
    columns = [rows[key].astype(object).where(rows[key].notna(), None).tolist() for key in keys]
    couplings = rows["coupling"].tolist()
    seeds = rows["seed"].tolist()
    values = rows[value].tolist()
    places = zip(*columns, strict=True) if columns else [()] * len(rows)
    for place, coupling, seed, number in zip(places, couplings, seeds, values, strict=True):
        yield tuple(place), str(coupling), int(seed), float(number)


def by_coupling(values: Mapping[str, Mapping[int, float]]) -> dict[str, Cell]:
    """Arm to Cell, from arm to seed to value; its baseline is random with its objective and law."""
    found = {}
    for coupling in ordered(values):
        # Random compared with itself would give "0 %" with an interval, which looks like a result.
        reference = {} if is_baseline(coupling) else values.get(baseline_of(coupling), {})
        found[coupling] = against(values[coupling], reference)
    return found


def of_runs(series: pd.Series) -> dict[str, Cell]:
    """Coupling to Cell, from a series indexed by coupling and seed."""
    # A run that lacks the value was not measured. Kept as nan, it would look like a diverged one.
    values: dict[str, dict[int, float]] = {}
    for (coupling, seed), value in series.dropna().items():
        values.setdefault(str(coupling), {})[int(seed)] = float(value)
    return by_coupling(values)


def per_run(rows: pd.DataFrame, metrics: Iterable[str]) -> pd.DataFrame:
    """Metrics with one value per run as columns, empty where a run lacks one; a row for each
    coupling and seed.
    """
    metrics = list(metrics)
    some = rows[rows["metric"].isin(metrics)]
    # Means over duplicates, such as a value that was measured for two numbers of images.
    wide = some.pivot_table(index=["coupling", "seed"], columns="metric", values="value")
    # A metric that no run has is an empty column, so that formulas over columns need no cases.
    return wide.reindex(columns=metrics)


def cost_cuts(rows: pd.DataFrame) -> dict[str, Cell]:
    """Share of the independent transport cost that each coupling saves, from the runs of a
    group.
    """
    wide = per_run(rows, ["transport_cost", "transport_cost_independent"])
    # Run by run: both costs of a run are of the same pools, whose chance differences cancel.
    return of_runs(1 - wide["transport_cost"] / wide["transport_cost_independent"])
