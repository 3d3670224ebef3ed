"""Squared Wasserstein-2 distance between weighted points, by exact optimal transport.

Distances are sums over all d values, not means. Between two finite samples of one distribution they
are far above 0, the more so the larger d is. Compare a distance with its floor, that of two samples
of the same distribution.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.metrics._finite import all_finite
from couplings.plan import import_pot

LARGEST = 5000  # points on a side: seconds to a minute


def transport(
    x: Tensor, y: Tensor, x_weights: Tensor | None = None, y_weights: Tensor | None = None
) -> float:
    """The squared W2 between weighted points x ``[n, d]`` and y ``[m, d]``, by exact optimal
    transport.

    Weights ``[n]`` and ``[m]`` are of sum 1; without them points weigh alike. NaN where a point is
    not finite.

    Raises:
        ValueError: more than ``LARGEST`` points on a side, none, weights that do not sum to 1, or
            no convergence.

    """
    if not 0 < min(len(x), len(y)) <= max(len(x), len(y)) <= LARGEST:
        raise ValueError(
            f"exact transport of {len(x)} and {len(y)} points: take 1 to {LARGEST} of each"
        )
    a = _masses(x, x_weights)
    b = _masses(y, y_weights)
    # Rounding of float32 weights stays below this; more is a mistake of the caller.
    if max(abs(a.sum().item() - 1), abs(b.sum().item() - 1)) > 1e-6:
        raise ValueError(f"weights of sum {a.sum():.6g} and {b.sum():.6g}: both must sum to 1")
    if not all_finite(x, y):
        return math.nan
    cost = torch.cdist(x.flatten(1).double(), y.flatten(1).double()).square()
    # POT refuses sums that differ in the last digit.
    b = b * (a.sum() / b.sum())
    solve = import_pot().emd2
    # POT's own limit of 100,000 iterations is too low for thousands of points.
    value, log = solve(a.numpy(), b.numpy(), cost.numpy(), numItermax=10**7, log=True)
    # POT only warns. Its value is then that of some plan, above W2, and would look like any other.
    if log["warning"] is not None:
        raise ValueError(
            f"exact transport of {len(x)} and {len(y)} points failed ({log['warning']}): take fewer"
        )
    return float(value)


def _masses(points: Tensor, weights: Tensor | None) -> Tensor:
    """Weights ``[n]`` in float64; equal ones if there are none."""
    if weights is not None:
        return weights.double()
    return torch.full((len(points),), 1 / len(points), dtype=torch.float64, device="cpu")


def mass_error(mass: Tensor, targets: Tensor) -> float:
    """The squared W2 from targets ``[N, d]`` weighted by ``mass`` ``[N]`` to equally weighted ones.

    This is all of a hard map's prior error: it meets only targets, some too often, some too seldom.
    ``mass`` may be counts. Raises as ``transport``.
    """
    return transport(targets, targets, x_weights=mass.double() / mass.double().sum())
