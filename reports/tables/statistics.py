"""Means over seeds and comparisons with the random arm, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

BASELINE = "random"

LEVEL = 0.95
LEAST_SEEDS = 3
"""Shared seeds that a claim needs; with two, chance alone puts both on one side every other time.
"""


@dataclass(frozen=True)
class Interval:
    """A range that is believed to hold the true value."""

    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """One arm at one NFE, or at one sigma.

    Attributes: values: seed to value. baseline: seed to value of the random arm, for the seeds that
        both have; empty for the random arm itself.

    """

    values: dict[int, float]
    baseline: dict[int, float]

    @cached_property
    def mean(self) -> float:
        """Mean over seeds; a seed that diverged makes it nan or inf rather than being dropped."""
        return _mean(self.values.values())

    @cached_property
    def spread(self) -> float | None:
        """Sample standard deviation over seeds; None with one seed or a value that is not finite."""
        if len(self.values) < 2 or not math.isfinite(self.mean):
            return None
        return math.sqrt(
            sum((value - self.mean) ** 2 for value in self.values.values()) / (len(self.values) - 1)
        )

    @cached_property
    def ratio(self) -> float | None:
        """Mean of this arm over mean of the random arm, over the seeds both have; None where
        undefined.

        So where a mean is below zero, as that of an unbiased distance may be: 0.1 is not -2 times
        as high as -0.05.
        """
        reference = _mean(self.baseline.values()) if self.baseline else 0.0
        ratio = (
            _mean(self.values[s] for s in self.baseline) / reference if reference > 0 else math.nan
        )
        return ratio if math.isfinite(ratio) and ratio >= 0 else None

    @cached_property
    def difference(self) -> Interval | None:
        """Interval of the mean over seeds of this arm less the random arm, seed by seed; see
        ``student``.

        None with fewer than ``LEAST_SEEDS`` shared seeds, or where one of their values is not
        finite.
        """
        pairs = np.array([(self.values[seed], value) for seed, value in self.baseline.items()])
        if len(pairs) < LEAST_SEEDS or not np.isfinite(pairs).all():
            return None
        # What is apart by rounding alone is no claim
        same = np.isclose(pairs[:, 0], pairs[:, 1], rtol=1e-12, atol=0.0)
        return student(np.where(same, 0.0, pairs[:, 0] - pairs[:, 1]))

    @cached_property
    def ratio_interval(self) -> Interval | None:
        """Interval of ``ratio``: that of the difference in units of the random arm's mean.

        So it excludes 1 exactly where ``difference`` excludes 0. None where either is undefined.
        """
        if self.difference is None or self.ratio is None:
            return None
        reference = _mean(self.baseline.values())
        return Interval(1 + self.difference.low / reference, 1 + self.difference.high / reference)

    @property
    def verdict(self) -> str:
        """``lower`` or ``higher`` than random where the interval of the difference excludes zero,
        else ``unclear``.
        """
        if self.difference is not None and self.difference.high < 0:
            return "lower"
        return "higher" if self.difference is not None and self.difference.low > 0 else "unclear"


def student(differences: np.ndarray) -> Interval:
    """Interval (95 %) of the mean of ``differences [n]``, n of 2 or more: mean -+ t(n - 1) s /
    sqrt(n) (Student 1908).

    It knows how little few values say: that of three is 2.5 times as wide as their sample standard
    deviation, to either side, where resampling three values would leave out a true zero every
    fourth time.
    """
    from scipy.special import stdtrit

    n, mean = len(differences), float(np.mean(differences))
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2) * np.std(differences, ddof=1) / math.sqrt(n))
    return Interval(mean - half, mean + half)


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)  # statistics.mean raises on inf - inf; this gives nan


def cells(rows: pd.DataFrame, over: str | None = "nfe") -> dict[Hashable, dict[str, Cell]]:
    """Value of the column ``over`` to coupling to Cell, for rows of one metric under one setting.

    Keys are in ascending order; where ``over`` is None, the only one is None.

    Raises:
        ValueError: a seed of an arm has two values in one place, so the rows mix settings.

    """
    places = [None] * len(rows) if over is None else rows[over].tolist()
    values: dict[Hashable, dict[str, dict[int, float]]] = {}
    for place, arm, seed, value in zip(
        places,
        rows["coupling"].tolist(),
        rows["seed"].tolist(),
        rows["value"].tolist(),
        strict=True,
    ):
        seeds = values.setdefault(place, {}).setdefault(arm, {})
        if seed in seeds:
            raise ValueError(
                f"two values for {arm}, seed {seed}, {over or 'run'} {place}: select one setting"
            )
        seeds[seed] = value
    return {place: by_arm(values[place]) for place in (sorted(values) if over else values)}


def by_arm(values: dict[str, dict[int, float]]) -> dict[str, Cell]:
    """Coupling to Cell, from coupling to seed to value; random first."""
    reference = values.get(BASELINE, {})
    return {
        arm: Cell(
            values[arm],
            (
                {}
                if arm == BASELINE
                else {s: v for s, v in sorted(reference.items()) if s in values[arm]}
            ),
        )
        for arm in ordered(values)
    }


def cost_cuts(rows: pd.DataFrame) -> dict[str, Cell]:
    """Share of the independent transport cost that each run of a group saves, by coupling."""
    wide = rows[rows["metric"].isin(["transport_cost", "transport_cost_independent"])].pivot_table(
        index=["coupling", "seed"], columns="metric", values="value"
    )
    if len(wide.columns) < 2:
        return {}
    cut = (1 - wide["transport_cost"] / wide["transport_cost_independent"]).dropna()
    values: dict[str, dict[int, float]] = {}
    for (arm, seed), value in cut.items():
        values.setdefault(str(arm), {})[int(seed)] = float(value)
    return by_arm(values)


def ordered(couplings: Iterable[str]) -> list[str]:
    """The random arm first, the others by name: the order of all tables and figures."""
    return sorted(set(couplings), key=lambda coupling: (coupling != BASELINE, coupling))


def change(ratio: float, interval: Interval | None = None) -> str:
    """A ratio to random with its interval, as change: ``−38 % [−45, −30]``."""
    ends = interval and [interval.low, interval.high]
    few = max(abs(r - 1) for r in (ratio, *(ends or ()))) < 0.0995  # a decimal for all or none
    shown = [f"{100 * (r - 1):+,.{int(few)}f}".replace("-", "−") for r in (ratio, *(ends or ()))]
    return f"{shown[0]} %" + (f" [{shown[1]}, {shown[2]}]" if ends else "")
