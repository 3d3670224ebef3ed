"""The objective of EDM (Karras et al. 2022, Table 1, last column)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.objectives.contract import Coefficients, Objective


@dataclass(frozen=True, kw_only=True)
class EDM(Objective):
    """Preconditioning that keeps F's input, target and loss near unit variance at every sigma.

    Options:
        P_mean: mean of ln sigma in training.
        P_std: standard deviation of ln sigma in training.
        sigma_data: standard deviation of the data.
    """

    P_mean: float = -1.2
    P_std: float = 1.2
    sigma_data: float = 0.5

    def coefficients(self, sigma: Tensor) -> Coefficients:
        data = self.sigma_data
        norm = (sigma**2 + data**2).sqrt()
        # The factor 1/4 is only there because Table 1 has it: released weights expect it.
        return Coefficients(data**2 / norm**2, sigma * data / norm, 1 / norm, sigma.log() / 4)

    def weight(self, sigma: Tensor) -> Tensor:
        # This is 1 / c_out^2 (App. B.6): the error of F itself counts alike at all levels.
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2

    def draw_sigma(self, n: int, generator: torch.Generator, device: str = "cpu") -> Tensor:
        # Drawn where the generator is, then moved: a GPU's generator would draw other numbers.
        normal = torch.randn(n, generator=generator, device=generator.device, dtype=torch.float32)
        return (normal * self.P_std + self.P_mean).exp().to(device)
