"""Kernel Inception Distance, here in any features: an unbiased squared distance, so that small
samples do no harm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.metrics._finite import all_finite

SUBSETS = 20
SUBSET_SIZE = 500


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
        rows, others = (
            torch.randperm(len(z), generator=generator, device="cpu")[:size] for z in (x, y)
        )
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
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_off_diagonal(k: Tensor) -> Tensor:
    n = len(k)
    return (k.sum() - k.trace()) / (n * (n - 1))
