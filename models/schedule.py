"""Noise levels to sample at."""

from __future__ import annotations

import torch
from torch import Tensor


def karras_sigmas(
    steps: int, rho: float = 7.0, sigma_min: float = 0.002, sigma_max: float = 80.0
) -> Tensor:
    """Falling noise levels ``[steps + 1]`` float64, from sigma_max to sigma_min and then 0 (Karras
    et al. 2022, Eq. 5).

    For rho to infinity the levels become geometric; float64 keeps them apart even at rho in the
    hundreds.

    Raises: ValueError: steps < 2, rho <= 0, not 0 < sigma_min < sigma_max, or a rho so extreme that
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
    fraction = torch.arange(steps, dtype=torch.float64, device="cpu") / (steps - 1)
    high, low = fraction.new_tensor([sigma_max, sigma_min]) ** (1 / rho)
    levels = ((1 - fraction) * high + fraction * low) ** rho  # this form meets both ends at any rho
    sigmas = torch.cat([levels, levels.new_zeros(1)])
    if not (sigmas.diff() < 0).all():
        raise ValueError(
            f"rho {rho}: float64 cannot keep {steps} levels apart; take one between 0.1 and 1000"
        )
    return sigmas


def heun_steps(nfe: int) -> int:
    """Steps of the Heun sampler that takes ``nfe`` = 2 steps - 1 evaluations.

    Raises:
        ValueError: no number of steps takes that many.

    """
    if nfe < 3 or nfe % 2 == 0:
        raise ValueError(
            f"{nfe} evaluations: Heun takes 2 steps - 1 of them, with 2 steps or more: 3, 5, 7, ..."
        )
    return (nfe + 1) // 2
