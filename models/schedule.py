"""Noise levels to sample at."""

from __future__ import annotations

import torch
from torch import Tensor


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


def heun_steps(nfe: int) -> int:
    """Find the steps of Heun's method that take ``nfe`` = 2 steps - 1 evaluations.

    Raises:
        ValueError: no number of steps takes that many.

    """
    if nfe < 3 or nfe % 2 == 0:
        raise ValueError(
            f"{nfe} evaluations: Heun takes 2 steps - 1 of them, with 2 steps or more: 3, 5, 7, ..."
        )
    return (nfe + 1) // 2
