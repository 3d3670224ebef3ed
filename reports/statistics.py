"""Means over seeds and comparisons with the random arm, seed by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

BASELINE = "random"


@dataclass(frozen=True)
class Cell:
    """One arm at one NFE.

    Attributes:
        values: seed to value.
        baseline: seed to value of the random arm, for the seeds that both have; empty for the random arm itself.

    """

    values: dict[int, float]
    baseline: dict[int, float]

    @property
    def mean(self) -> float:
        """Mean over seeds; a seed that diverged makes it nan or inf rather than being dropped."""
        return _mean(self.values.values())

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over seeds; None with one seed or a value that is not finite."""
        finite = all(map(math.isfinite, self.values.values()))
        return statistics.stdev(self.values.values()) if len(self.values) > 1 and finite else None

    @property
    def ratio(self) -> float | None:
        """Mean of this arm over mean of the random arm, over the seeds both have; None where undefined.

        So where a mean is below zero, as that of an unbiased distance may be: 0.1 is not -2 times as high as -0.05.
        """
        reference = _mean(self.baseline.values()) if self.baseline else 0.0
        ratio = _mean(self.values[s] for s in self.baseline) / reference if reference > 0 else math.nan
        return ratio if math.isfinite(ratio) and ratio >= 0 else None

    @property
    def verdict(self) -> str:
        """``lower`` or ``higher`` than random in every shared seed, ``unclear`` where the seeds disagree."""
        differences = [self.values[seed] - reference for seed, reference in self.baseline.items()]
        if differences and all(d < 0 for d in differences):
            return "lower"
        if differences and all(d > 0 for d in differences):
            return "higher"
        return "unclear"


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)  # statistics.mean raises on inf - inf; this gives nan


def cells(rows: pd.DataFrame) -> dict[int | None, dict[str, Cell]]:
    """NFE (None where it does not apply) to coupling to Cell, for rows of one metric under one setting.

    Raises:
        ValueError: a seed of an arm has two values at one NFE, so the rows mix settings.

    """
    values: dict[int | None, dict[str, dict[int, float]]] = {}
    for row in rows[["nfe", "coupling", "seed", "value"]].itertuples(index=False):
        seeds = values.setdefault(_none_if_missing(row.nfe), {}).setdefault(str(row.coupling), {})
        if row.seed in seeds:
            raise ValueError(f"two values for {row.coupling}, seed {row.seed}, NFE {row.nfe}: select one setting")
        seeds[int(row.seed)] = float(row.value)
    return {nfe: {arm: _cell(arms, arm) for arm in ordered(arms)} for nfe, arms in sorted(values.items(), key=_first)}


def ordered(couplings: Iterable[str]) -> list[str]:
    """The random arm first, the others by name: the order of all tables and figures."""
    return sorted(set(couplings), key=lambda coupling: (coupling != BASELINE, coupling))


def _cell(arms: dict[str, dict[int, float]], arm: str) -> Cell:
    reference = arms.get(BASELINE, {}) if arm != BASELINE else {}
    return Cell(arms[arm], {seed: value for seed, value in sorted(reference.items()) if seed in arms[arm]})


def _first(item: tuple) -> tuple[bool, int]:
    return (item[0] is not None, item[0] or 0)


def _none_if_missing(value: object) -> int | None:
    import pandas as pd

    return None if pd.isna(value) else int(value)
