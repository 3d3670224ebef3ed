"""The Frechet distance of infinitely many samples, extrapolated from those of fewer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

POINTS = 8


def sizes(n: int, points: int = POINTS) -> list[int]:
    """Numbers of samples to take the distance of, evenly from a quarter of them to all ``n``."""
    return sorted({round(size) for size in np.linspace(n / 4, n, points)})


def fd_infinity(distances: Mapping[int, float]) -> float:
    """Where a line in 1/n through the distances of n samples ends at 1/n = 0 (Chong & Forsyth
    2020).

    The distance of n samples is too high by about c / n, and c depends on the model. Only the bias
    of the samples goes: that of the reference stays, which is the same for all models. May fall
    below zero by chance. NaN where a distance is not finite.

    Raises:
        ValueError: fewer than two numbers of samples.

    """
    if len(distances) < 2:
        raise ValueError("a line needs the distances of two numbers of samples: take more samples")
    inverse, values = np.array([1 / n for n in distances]), np.array(list(distances.values()))
    if not np.isfinite(values).all():
        return math.nan
    slope, intercept = np.polyfit(inverse, values, 1)
    return float(intercept)
