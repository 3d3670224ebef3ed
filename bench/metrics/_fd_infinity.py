"""The Frechet distance of infinitely many samples, extrapolated from those of fewer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

POINTS = 8


def sizes(n: int, points: int = POINTS) -> list[int]:
    """Numbers of samples to take the distance of, evenly from a quarter of them to all ``n``."""
    # A set, because with few samples two sizes may round to the same number.
    return sorted({round(size) for size in np.linspace(n / 4, n, points)})


def fd_infinity(distances: Mapping[int, float]) -> float:
    """Value at 1/n = 0 of a line through the distances of n samples (Chong & Forsyth 2020).

    The distance of n samples is too high by about c / n, and c depends on the model. Only the bias
    of the samples is removed: that of the reference is the same for all models. May fall below zero
    by chance. NaN if a distance is not finite.

    Raises:
        ValueError: fewer than two numbers of samples.

    """
    if len(distances) < 2:
        raise ValueError("a line needs the distances of two numbers of samples: take more samples")
    # The bias falls as 1 / n, so the distances form a line over 1 / n, not over n.
    inverse = np.array([1 / n for n in distances])
    values = np.array(list(distances.values()))
    # A fit through NaN would raise, or give a number.
    if not np.isfinite(values).all():
        return math.nan
    _, intercept = np.polyfit(inverse, values, 1)
    return float(intercept)
