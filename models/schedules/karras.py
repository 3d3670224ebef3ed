"""Noise levels of EDM (Karras et al. 2022, Eq. 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.schedules.contract import Schedule


@dataclass(frozen=True, kw_only=True)
class Karras(Schedule):
    """Levels evenly spaced in sigma^(1 / rho), from sigma_max to sigma_min and then to 0.

    Options:
        rho: exponent; 7 is EDM's, 1 is uniform in sigma, and large ones are geometric.
    """

    coordinates: ClassVar[str] = "sigma"

    rho: float = 7.0

    def times(self, steps: int, sigma_min: float, sigma_max: float) -> Tensor:
        return karras_sigmas(steps, self.rho, sigma_min, sigma_max)


def karras_sigmas(
    steps: int, rho: float = 7.0, sigma_min: float = 0.002, sigma_max: float = 80.0
) -> Tensor:
    """Compute falling noise levels ``[steps + 1]`` in float64 (Karras et al. 2022, Eq. 5).

    They fall from sigma_max to sigma_min and then to 0. As rho grows they become geometric.

    Raises:
        ValueError: steps < 2, rho <= 0, not 0 < sigma_min < sigma_max, or a rho so extreme that
            levels coincide.

    """
    if steps < 2:
        raise ValueError(f"{steps} steps: the schedule needs 2 or more")
    if not rho > 0:
        raise ValueError(f"rho {rho}: it must be above 0")
    if not 0 < sigma_min < sigma_max:
        raise ValueError(
            f"sigma_min {sigma_min} and sigma_max {sigma_max}: 0 < sigma_min < sigma_max must hold"
        )
    # Float64 keeps the levels distinct even at rho in the hundreds, where the roots are near 1.
    fraction = torch.arange(steps, dtype=torch.float64, device="cpu") / (steps - 1)
    high, low = fraction.new_tensor([sigma_max, sigma_min]) ** (1 / rho)
    # high + fraction (low - high) would miss sigma_min by rounding; this form meets both ends.
    levels = ((1 - fraction) * high + fraction * low) ** rho
    sigmas = torch.cat([levels, levels.new_zeros(1)])
    # Samplers divide by differences of neighbours.
    if not (sigmas.diff() < 0).all():
        raise ValueError(
            f"rho {rho}: float64 cannot keep {steps} levels apart; take one between 0.1 and 1000"
        )
    return sigmas
