"""Kernel Inception Distance, here in any features: an unbiased squared distance, so that small
samples do no harm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.metrics._finite import all_finite
from bench.metrics._first import FirstSamples, has_neighbours
from bench.metrics.contract import FeatureSpace, Values
from bench.randomness import generator as seeded
from bench.record.infos import Info

# The estimate is unbiased at any size, and the time of a subset grows with its square: many small
# ones average out more noise.
SUBSETS = 20
SUBSET_SIZE = 500


class KID(FirstSamples):
    """KID of the first samples to real images of each split."""

    infos = (
        Info(
            "kid",
            "Unbiased kernel distance (the formula of KID) in these features, not those of"
            " Inception; by chance it may fall below zero.",
            "lower",
            figure=False,
            floor=True,
            title="Kernel distance",
            place=140,
        ),
    )

    @classmethod
    def suits(cls, space: FeatureSpace, n: int) -> bool:
        """True where neighbours mean something, see ``has_neighbours``."""
        return has_neighbours(space, n)

    def compute(self) -> Values:
        """``kid`` to both splits."""
        values: Values = {}
        for split, real in self.space.some.items():
            # The same subsets for every run, so that the estimate adds no noise to a comparison.
            values["kid", split] = kid(self.samples, real, seeded(0, "kid subsets"))
        return values


def kid(
    x: Tensor,
    y: Tensor,
    generator: torch.Generator,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
) -> float:
    """Mean over random subsets of the unbiased MMD^2 with k(a, b) = (a.b / d + 1)^3 (Binkowski et
    al. 2018).

    Subsets of x ``[n, d]`` and y ``[m, d]`` are drawn without replacement; where a set is smaller
    than a subset, the subsets are as large as the set. Unbiased, so that the value of two equal
    distributions may be below zero. NaN where a feature is not finite, in a subset or not.

    Raises:
        ValueError: fewer than two samples on a side, where nothing is unbiased.

    """
    size = min(subset_size, len(x), len(y))
    if size < 2:
        raise ValueError(f"KID of {len(x)} and {len(y)} samples: take at least two of each")
    if not all_finite(x, y):
        return math.nan
    total = 0.0
    for _ in range(subsets):
        # Drawn on the CPU, so that the subsets are the same wherever the features are.
        rows = torch.randperm(len(x), generator=generator, device="cpu")[:size]
        others = torch.randperm(len(y), generator=generator, device="cpu")[:size]
        # In float64, because the three means nearly cancel where the distributions are alike.
        total += mmd2(x[rows].double(), y[others].double()).item()
    return total / subsets


def mmd2(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased MMD^2 of x ``[n, d]`` and y ``[m, d]`` (Gretton et al. 2012, Eq. 3): no sample
    meets itself.
    """
    return (
        _mean_off_diagonal(_kernel(x, x))
        + _mean_off_diagonal(_kernel(y, y))
        - 2 * _kernel(x, y).mean()
    )


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    # Over d, so that kernels of any features have the same order of size. The third power compares
    # moments up to the third.
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_off_diagonal(k: Tensor) -> Tensor:
    n = len(k)
    return (k.sum() - k.trace()) / (n * (n - 1))
