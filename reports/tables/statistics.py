"""Means over seeds and comparisons with random pairing, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from reports import text
from reports.tables.arms import baseline_of, is_baseline, ordered

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95
# With two shared seeds, chance alone puts both on one side every other time.
LEAST_SEEDS = 3
# Results of equal runs differ by rounding of the last digits; that is no difference.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """One coupling in one place of a table, such as one NFE.

    Attributes:
        values: seed to value.
        baseline: seed to value of random pairing, for the seeds that both have; empty for random
            pairing itself.

    """

    values: dict[int, float]
    baseline: dict[int, float]

    @cached_property
    def mean(self) -> float:
        """Mean over seeds; a seed that diverged makes it nan or inf rather than being dropped."""
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
    def shared_means(self) -> tuple[float, float]:
        """Mean of this coupling and of random pairing over the seeds that both have; nan without
        such seeds.
        """
        if not self.baseline:
            return math.nan, math.nan
        # Seeds that only one of the two has would shift its mean, as an effect of pairing does.
        own = _mean(self.values[seed] for seed in self.baseline)
        return own, _mean(self.baseline.values())

    @cached_property
    def ratio(self) -> float | None:
        """Mean over the mean of random pairing, over the seeds both have; None where undefined.

        A mean below zero, which an unbiased distance can have, makes it undefined: 0.1 is not -2
        times as high as -0.05.
        """
        own, reference = self.shared_means
        # Not "<= 0": a reference that is nan has no ratio either.
        if not reference > 0:
            return None
        # The ratio of the means: in a mean of ratios, one seed with a low reference would dominate.
        ratio = own / reference
        return ratio if math.isfinite(ratio) and ratio >= 0 else None

    @cached_property
    def difference(self) -> Interval | None:
        """Interval of the mean of this coupling less random pairing, seed by seed; see ``student``.

        None with fewer than ``LEAST_SEEDS`` shared seeds, or if one of their values is not finite.
        """
        # Seed by seed, because runs of one seed share data order and latents: their differences
        # vary less than the runs themselves.
        own = np.array([self.values[seed] for seed in self.baseline])
        reference = np.array([*self.baseline.values()])
        if len(own) < LEAST_SEEDS or not np.isfinite([own, reference]).all():
            return None
        same = np.isclose(own, reference, rtol=_ROUNDING, atol=0.0)
        return student(np.where(same, 0.0, own - reference))

    @cached_property
    def ratio_interval(self) -> Interval | None:
        """Interval of ``ratio``: that of the difference in units of the mean of random pairing.

        It excludes 1 exactly where ``difference`` excludes 0. None where either is undefined.
        """
        if self.difference is None or self.ratio is None:
            return None
        _, reference = self.shared_means
        return Interval(1 + self.difference.low / reference, 1 + self.difference.high / reference)

    @property
    def side(self) -> str:
        """``lower`` or ``higher`` than random if the interval of the difference excludes zero, else
        ``unclear``.
        """
        if self.difference is None:
            return "unclear"
        # Strictly beyond zero, because runs that are equal have the interval [0, 0].
        if self.difference.high < 0:
            return "lower"
        return "higher" if self.difference.low > 0 else "unclear"

    @property
    def change(self) -> str:
        """The ratio to random pairing as change, with its interval: ``−38 % [−45, −30]``."""
        if self.ratio_interval is None:
            return text.change(self.ratio)
        return text.change(self.ratio, self.ratio_interval.low, self.ratio_interval.high)


def student(differences: np.ndarray) -> Interval:
    """95 % interval of the mean of ``differences [n]`` with n >= 2: mean -+ t(n - 1) s / sqrt(n).

    This is the paired t interval (Student 1908). It is honest for few values: of three it is 2.5
    times as wide as their sample standard deviation, to either side, whereas resampling three
    values would exclude a true zero every fourth time.
    """
    # Student's t rather than the normal distribution: with three seeds the quantile is 4.30, and
    # 1.96 would exclude a true zero in 19 % of comparisons instead of 5 %.
    # scipy.stats has the same interval but takes seconds to import; the tests compare with it.
    from scipy.special import stdtrit

    n = len(differences)
    mean = float(np.mean(differences))
    # numpy divides by n unless ddof says otherwise, which would make the interval too narrow.
    error = np.std(differences, ddof=1) / math.sqrt(n)
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2) * error)
    return Interval(mean - half, mean + half)


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
        own = dict(values[coupling])
        reference = values.get(baseline_of(coupling), {})
        # Random compared with itself would give "0 %" with an interval, which looks like a result.
        shared = {seed: value for seed, value in reference.items() if seed in own}
        shared = {} if is_baseline(coupling) else shared
        # Sorted, because the sum of floats depends on their order: the last digits of a mean would
        # follow the names of the run folders.
        found[coupling] = Cell(own, dict(sorted(shared.items())))
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
