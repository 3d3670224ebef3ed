"""Means over seeds and comparisons with the random arm, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

BASELINE = "random"

LEVEL = 0.95
LEAST_SEEDS = 3
"""Shared seeds that a claim needs; with two, chance alone puts both on one side every other time."""

_ENUMERATED = 6  # up to so many seeds all n^n resamples count; beyond, so many drawn ones:
_RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A range that is believed to hold the true value."""

    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """One arm at one NFE, or at one sigma.

    Attributes:
        values: seed to value.
        baseline: seed to value of the random arm, for the seeds that both have; empty for the random arm itself.

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
        return math.sqrt(sum((value - self.mean) ** 2 for value in self.values.values()) / (len(self.values) - 1))

    @cached_property
    def ratio(self) -> float | None:
        """Mean of this arm over mean of the random arm, over the seeds both have; None where undefined.

        So where a mean is below zero, as that of an unbiased distance may be: 0.1 is not -2 times as high as -0.05.
        """
        reference = _mean(self.baseline.values()) if self.baseline else 0.0
        ratio = _mean(self.values[s] for s in self.baseline) / reference if reference > 0 else math.nan
        return ratio if math.isfinite(ratio) and ratio >= 0 else None

    @cached_property
    def difference(self) -> Interval | None:
        """Interval of the mean over seeds of this arm less the random arm, seed by seed; see ``bootstrap``.

        None with fewer than ``LEAST_SEEDS`` shared seeds, or where one of their values is not finite.
        """
        own, reference = self._pairs()
        return bootstrap(own - reference) if self._comparable(own, reference) else None

    @cached_property
    def ratio_interval(self) -> Interval | None:
        """Interval of ``ratio``; it excludes 1 exactly where ``difference`` excludes 0.

        None where there is no ``difference``, and where a value of the random arm is not above zero.
        """
        own, reference = self._pairs()
        return bootstrap(own, reference) if self._comparable(own, reference) and min(reference) > 0 else None

    @property
    def verdict(self) -> str:
        """``lower`` or ``higher`` than random where the interval of the difference excludes zero, else ``unclear``."""
        if self.difference is None or self.difference.low <= 0 <= self.difference.high:
            return "unclear"
        return "lower" if self.difference.high < 0 else "higher"

    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        seeds = list(self.baseline)
        return np.array([self.values[s] for s in seeds]), np.array([self.baseline[s] for s in seeds])

    def _comparable(self, own: np.ndarray, reference: np.ndarray) -> bool:
        return len(own) >= LEAST_SEEDS and bool(np.isfinite([own, reference]).all())


def bootstrap(values: np.ndarray, reference: np.ndarray | None = None) -> Interval:
    """Percentile interval (95 %) of the mean of ``values [n]``, or of mean over mean with ``reference [n]``.

    The seeds are resampled with replacement (Efron & Tibshirani 1993, ch. 13): all n^n resamples with up to six of
    them, 2,000 drawn from a fixed seed beyond. So the same values always give the same interval. Its ends are values
    that occur, not interpolated ones. With few seeds it is too narrow: that of three reaches from their lowest to
    their highest value.
    """
    weights, chances = _resamples(len(values))
    means = weights @ values if reference is None else (weights @ values) / (weights @ reference)
    order = np.argsort(means, kind="stable")
    means, below = means[order], np.cumsum(chances[order])
    tail = (1 - LEVEL) / 2
    low, high = np.searchsorted(below, tail, side="right"), np.searchsorted(below, 1 - tail, side="left")
    return Interval(float(means[low]), float(means[high]))


@cache
def _resamples(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights ``[resamples, n]`` of the seeds in each resample and the resamples' probabilities ``[resamples]``."""
    if n > _ENUMERATED:
        drawn = np.random.default_rng(0).integers(n, size=(_RESAMPLES, n))
        chances = np.full(_RESAMPLES, 1 / _RESAMPLES)
    else:  # resamples that differ in order only are one, with its number of orders
        drawn = np.array(list(combinations_with_replacement(range(n), n)))
        orders = [
            math.factorial(n) / math.prod(math.factorial(count) for count in np.bincount(row, minlength=n))
            for row in drawn
        ]
        chances = np.array(orders) / n**n
    return np.stack([(drawn == seed).mean(axis=1) for seed in range(n)], axis=1), chances


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
        places, rows["coupling"].tolist(), rows["seed"].tolist(), rows["value"].tolist(), strict=True
    ):
        seeds = values.setdefault(place, {}).setdefault(arm, {})
        if seed in seeds:
            raise ValueError(f"two values for {arm}, seed {seed}, {over or 'run'} {place}: select one setting")
        seeds[seed] = value
    return {place: by_arm(values[place]) for place in (sorted(values) if over else values)}


def by_arm(values: dict[str, dict[int, float]]) -> dict[str, Cell]:
    """Coupling to Cell, from coupling to seed to value; random first."""
    reference = values.get(BASELINE, {})
    return {
        arm: Cell(
            values[arm], {} if arm == BASELINE else {s: v for s, v in sorted(reference.items()) if s in values[arm]}
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
