"""Numbers of seeds: how many a difference needs to be found, from the spread of those there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.tables.intervals import LEVEL, paired
from reports.tables.statistics import LEAST_SEEDS, Cell

POWER = 0.8  # share of studies that find a true difference
EFFECTS = (0.05, 0.1, 0.2)  # true differences, as shares of the value of random pairing
MOST_SEEDS = 1000  # beyond, a number of seeds is no advice
MOST_MORE = 5  # seeds that somebody may add to make an estimate clear


def power(n: int, effect: float, spread: float) -> float:
    """The probability that the paired t test of n seeds finds a mean of ``effect``.

    By the noncentral t distribution: T > t or T < -t, with n - 1 degrees of freedom and the
    noncentrality sqrt(n) effect / spread (Cohen 1988, Sec. 2.2).

    Args:
        n: seeds, 2 or more.
        effect: mean of the differences, in units of ``spread``.
        spread: standard deviation of the differences over seeds, above 0.

    """
    from scipy.special import nctdtr, stdtrit

    quantile = stdtrit(n - 1, (1 + LEVEL) / 2)
    shift = math.sqrt(n) * abs(effect) / spread
    # The second tail, a claim on the wrong side, matters for small effects only.
    return float(1 - nctdtr(n - 1, shift, quantile) + nctdtr(n - 1, shift, -quantile))


def seeds_needed(effect: float, spread: float) -> int | None:
    """The fewest seeds, ``LEAST_SEEDS`` or more, that find ``effect`` with ``POWER``; None if that
    takes more than ``MOST_SEEDS``.
    """
    # Equal runs; there is no noncentrality to divide by.
    if spread == 0:
        return LEAST_SEEDS
    # Power rises with n, so that halving finds the first number that is enough.
    if power(MOST_SEEDS, effect, spread) < POWER:
        return None
    low = LEAST_SEEDS
    high = MOST_SEEDS
    while low < high:
        middle = (low + high) // 2
        if power(middle, effect, spread) < POWER:
            low = middle + 1
        else:
            high = middle
    return low


def seeds_until_clear(cell: Cell) -> int | None:
    """The fewest further seeds with which the interval would exclude no change, if mean and spread
    stay as they are; None if more than ``MOST_MORE``, or if it excludes it already.
    """
    differences = log_ratios(cell)
    if len(differences) < LEAST_SEEDS or cell.p is None or cell.p < 1 - LEVEL:
        return None
    from scipy.special import stdtrit

    mean = abs(float(np.mean(differences)))
    spread = float(np.std(differences, ddof=1))
    # The quantile falls with the seeds too, which matters most from three on.
    for more in range(1, MOST_MORE + 1):
        n = len(differences) + more
        if mean > stdtrit(n - 1, (1 + LEVEL) / 2) * spread / math.sqrt(n):
            return more
    return None


def log_ratios(cell: Cell) -> np.ndarray:
    """Logarithm of the ratio to random pairing for each shared seed; empty if there is no ratio."""
    if not cell.is_relative:
        return np.array([])
    # Without the further seeds of random: what more shared seeds would bring is the question.
    own, shared, _ = cell.compared
    return np.log(own / shared)


@dataclass(frozen=True)
class Plan:
    """Seeds that comparisons of one place need.

    Attributes:
        spread: standard deviation of the log ratio over seeds, pooled over couplings.
        seeds: the fewest shared seeds that any of them has.
        needed: true difference to the seeds that find it; None if too many.

    """

    spread: float
    seeds: int
    needed: dict[float, int | None]


def plan(cells: Sequence[Cell]) -> Plan | None:
    """The seeds that some couplings at one place need; None without three shared seeds.

    A difference counts as that of a ratio above 1, which is the smaller one on the scale of
    logarithms: one below 1 by as much needs fewer seeds.
    """
    found = [log_ratios(cell) for cell in cells]
    # Of two seeds the spread is known to a factor of 30 only.
    found = [one for one in found if len(one) >= LEAST_SEEDS]
    if not found:
        return None
    # Variances, not deviations, have an unbiased mean; weighted by their degrees of freedom.
    weights = [len(one) - 1 for one in found]
    variances = [(paired(one).error ** 2) * len(one) for one in found]
    spread = math.sqrt(float(np.average(variances, weights=weights)))
    # On the scale of logarithms, on which the spread is measured.
    needed = {effect: seeds_needed(math.log1p(effect), spread) for effect in EFFECTS}
    return Plan(spread, min(map(len, found)), needed)
