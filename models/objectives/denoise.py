"""A network that returns the clean image, without any preconditioning."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.objectives.contract import Coefficients
from models.objectives.edm import EDM


@dataclass(frozen=True, kw_only=True)
class Denoise(EDM):
    """The network is D(x; sigma) itself: F = D, of x = y + sigma n and sigma.

    For networks that were trained elsewhere. Law and weight of the noise levels are those of EDM
    (Karras et al. 2022, Table 1), so that validation losses can be compared with its own.

    Options:
        P_mean: mean of ln sigma in training.
        P_std: standard deviation of ln sigma in training.
        sigma_data: standard deviation of the data, for the weight only.
    """

    def coefficients(self, sigma: Tensor) -> Coefficients:
        # The level as it is: a network of another program embeds it in its own way.
        one = torch.ones_like(sigma)
        return Coefficients(0 * one, one, one, sigma)
