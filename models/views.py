"""Noise levels of other papers as EDM's sigma.

All describe one process, x = y + sigma n, with other clocks and scales. A variance-preserving state
is sqrt(abar) y + sqrt(1 - abar) n. Divided by sqrt(abar) it is y + sigma n with
sigma = sqrt((1 - abar) / abar) (Karras et al. 2022, Table 1 and App. C.1), so that a jump "to step
50 of DDPM" is a jump to a sigma.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

View = Literal["ddpm", "ncsnv2"]
"""The schedule whose steps are counted."""


def ddpm_sigmas(steps: int = 1000, beta_first: float = 1e-4, beta_last: float = 0.02) -> Tensor:
    """Compute sigma ``[steps]``, rising, of steps 1, 2, ... of DDPM's linear schedule, in float64.

    Ho et al. 2020, Sec. 4.
    """
    beta = torch.linspace(beta_first, beta_last, steps, dtype=torch.float64, device="cpu")
    alpha_bar = (1 - beta).cumprod(0)
    return ((1 - alpha_bar) / alpha_bar).sqrt()


def ncsnv2_sigmas(levels: int = 232, sigma_first: float = 50.0, sigma_last: float = 0.01) -> Tensor:
    """Compute sigma ``[levels]``, rising, of the last 1, 2, ... levels of NCSNv2, in float64.

    The levels are geometric (Song & Ermon 2020, Sec. 3.2); the defaults are those of CIFAR-10.
    """
    options: dict[str, Any] = {"dtype": torch.float64, "device": "cpu"}
    # Doubled: the paper's pixels are in [0, 1], ours in [-1, 1].
    return 2 * torch.logspace(0, 1, levels, sigma_first / sigma_last, **options) * sigma_last


def sigma_of(view: View, step: int) -> float:
    """Find the sigma of a step; more steps are more noise.

    Raises:
        ValueError: no such view or step.

    """
    if view not in get_args(View):
        raise ValueError(f"view {view!r}: take one of {', '.join(get_args(View))}")
    sigmas = ddpm_sigmas() if view == "ddpm" else ncsnv2_sigmas()
    # Step 0 is the image itself, where no sampler can begin.
    if not 0 < step <= len(sigmas):
        raise ValueError(f"step={step}: {view} has steps 1 to {len(sigmas)}")
    return sigmas[step - 1].item()


def to_vp(x: Tensor, sigma: float) -> Tensor:
    """Compute the variance-preserving view ``[n, ...]`` of a state at sigma: x sqrt(abar)."""
    return x / (1 + sigma**2) ** 0.5


def from_vp(x: Tensor, sigma: float) -> Tensor:
    """Compute the state ``[n, ...]`` at sigma of a variance-preserving one ``[n, ...]``."""
    return x * (1 + sigma**2) ** 0.5
