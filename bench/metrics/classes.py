"""What a classifier makes of the samples: are all classes there, and is each sample of the class
that was asked for?
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

UNKNOWN = -1
"""The class of a sample that cannot be classified, for it is not finite."""


def class_distance(generated: Tensor, real: Tensor, num_classes: int) -> float:
    """Total variation 1/2 sum_c |p_c - q_c| between the class shares of predictions ``[n]`` and
    ``[m]``, in [0, 1].

    Both sets are classified by the same network, so that its errors do not count as a difference.
    NaN where a class is ``UNKNOWN``.
    """
    if (generated == UNKNOWN).any() or (real == UNKNOWN).any():
        return math.nan
    p, q = (torch.bincount(x, minlength=num_classes).double() / len(x) for x in (generated, real))
    return (p - q).abs().sum().item() / 2


def class_agreement(predicted: Tensor, asked: Tensor) -> float:
    """Share of samples whose predicted class ``[n]`` is the one that was asked for ``[n]``: top-1
    agreement.

    NaN where a predicted class is ``UNKNOWN``.
    """
    if (predicted == UNKNOWN).any():
        return math.nan
    return (predicted == asked).double().mean().item()
