"""A network that predicts the noise sample (Ho et al. 2020, Eq. 11) of x = y + sigma n."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.objectives.contract import Coefficients
from models.objectives.edm import EDM


@dataclass(frozen=True, kw_only=True)
class Noise(EDM):
    """The network predicts n from x = y + sigma n and sigma: D = x - sigma F.

    For networks that were trained elsewhere. Noise levels are drawn as in EDM.

    Options:
        P_mean: mean of ln sigma in training.
        P_std: standard deviation of ln sigma in training.
    """

    def coefficients(self, sigma: Tensor) -> Coefficients:
        # D = x - sigma F subtracts large numbers at high noise: F must be good there.
        one = torch.ones_like(sigma)
        return Coefficients(one, -sigma, one, sigma)

    def weight(self, sigma: Tensor) -> Tensor:
        # |F - n|^2 = |D - y|^2 / sigma^2: the error of the prediction itself (Ho et al., Eq. 14).
        return 1 / sigma**2
