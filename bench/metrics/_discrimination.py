"""AUC, accuracy and calibration of a discriminator, from logits of pairs it was not trained on.

Each value is NaN if a logit is not finite.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.metrics._finite import all_finite


def auc(real: Tensor, fake: Tensor) -> float:
    """Probability that a real one's logit exceeds a fake one's, ties counted half (Mann-Whitney U /
    (n m)).

    Logits ``[n]`` and ``[m]``.
    """
    if not all_finite(real, fake):
        return math.nan
    # Sorted and searched: a matrix of all n m comparisons would not fit into memory for large sets.
    fakes = fake.double().sort().values
    # Half of the ties lie on either side: the mean of both ways of counting gives that.
    below = torch.searchsorted(fakes, real.double(), right=False)
    not_above = torch.searchsorted(fakes, real.double(), right=True)
    return float((below + not_above).double().mean() / (2 * len(fake)))


def accuracy(real: Tensor, fake: Tensor) -> float:
    """Share of logits ``[n]`` and ``[m]`` with the right sign; those at exactly 0 count half."""
    if not all_finite(real, fake):
        return math.nan
    # The sign of a logit of exactly 0 is 0, so that (sign + 1) / 2 counts such an image half.
    hits = torch.cat([torch.sign(real), -torch.sign(fake)]).double()
    return float((hits + 1).mean() / 2)


def calibration_error(real: Tensor, fake: Tensor, bins: int = 10) -> float:
    """Expected calibration error: |share of reals - mean d| in each tenth of d, averaged over all
    samples.

    Of as many reals as fakes, logits ``[n]`` and ``[m]``; 0 where d is the probability of being
    real.
    """
    if not all_finite(real, fake):
        return math.nan
    d = torch.cat([real, fake]).double().sigmoid()
    is_real = (torch.arange(len(d), device="cpu") < len(real)).double()
    # Above a logit of 37 or so d is exactly 1, which would open a bin beyond the last one.
    bin_of = (d * bins).long().clamp_max(bins - 1).cpu()
    # The weight n_b / n of a bin cancels the 1 / n_b in its two means. So sums are enough, and an
    # empty bin is no 0 / 0. On the CPU, because index_add_ on a GPU adds in no fixed order.
    excess = torch.zeros(bins, dtype=torch.float64, device="cpu").index_add_(
        0, bin_of, is_real - d.cpu()
    )
    return float(excess.abs().sum() / len(d))
