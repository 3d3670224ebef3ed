"""Prior error: how far the points where sampling begins are from noised data, as a squared
Wasserstein-2 distance.

Distances are sums over all d values, not means. Between two finite samples they are far above 0
even where both come from one law, and far in d: a distance is read beside its floor, that of two
samples of noised data.
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

    Raises: ValueError: more than ``LARGEST`` points on a side, none, weights that do not sum to 1,
        or no convergence.

    """
    if not 0 < min(len(x), len(y)) <= max(len(x), len(y)) <= LARGEST:
        raise ValueError(
            f"exact transport of {len(x)} and {len(y)} points: take 1 to {LARGEST} of each"
        )
    a, b = (
        (
            torch.full((len(z),), 1 / len(z), dtype=torch.float64, device="cpu")
            if w is None
            else w.double()
        )
        for z, w in ((x, x_weights), (y, y_weights))
    )
    if max(abs(a.sum().item() - 1), abs(b.sum().item() - 1)) > 1e-6:
        raise ValueError(f"weights of sum {a.sum():.6g} and {b.sum():.6g}: both must sum to 1")
    if not all_finite(x, y):
        return math.nan
    cost = torch.cdist(x.flatten(1).double(), y.flatten(1).double()).square()
    # POT wants sums that are equal to the last digit.
    weights = a.numpy(), (b * (a.sum() / b.sum())).numpy()
    value, log = import_pot().emd2(*weights, cost.numpy(), numItermax=10**7, log=True)
    if log["warning"] is not None:
        raise ValueError(
            f"exact transport of {len(x)} and {len(y)} points failed ({log['warning']}): take fewer"
        )
    return float(value)


def mass_error(mass: Tensor, targets: Tensor) -> float:
    """The squared W2 from targets ``[N, d]`` as often as they came, ``mass`` ``[N]``, to the
    targets alike.

    What a hard map leaves of the prior error: it can only meet the targets too often or too seldom.
    ``mass`` may be counts. Raises as ``transport``.
    """
    return transport(targets, targets, x_weights=mass.double() / mass.double().sum())
