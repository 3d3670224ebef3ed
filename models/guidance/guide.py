"""Discriminator guidance in the sampler (Kim et al. 2023, arXiv 2211.17091, Eq. 7): the score plus
w grad log r.

With the density ratio r = d / (1 - d) of a discriminator, the ODE's slope dx/dsigma = -sigma score
gets the term -sigma grad_x log r. A first-order correction only is the default: Heun's second
evaluation stays unguided.

How weights compare: Heun averages the slopes of its two evaluations, so a term at the first one
only counts half. With an exact ratio, weight 1 at both evaluations (``second`` 1) is the full
correction, from the generated law to the real one; weight 1 at the first one only is half of it.
Weight 2 there is the full one again, but as an Euler step, of first order in the step: with few
steps it falls short. Euler has one evaluation a step, where weight 1 is the full one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Sigma at which a sample is guided; the paper's VP time 0.01 and up
WINDOW = (0.0447, float("inf"))
CLIP = 1e-5  # of d and 1 - d, beyond which the ratio is taken as constant


@dataclass(frozen=True)
class Term:
    """What guidance adds to the slope, ``[n, ...]`` float64, and log r ``[n]``, both 0 outside the
    window.
    """

    slope: Tensor
    log_ratio: Tensor


class Guidance:
    """(sigma, x, labels) -> -sigma grad_x log(d / (1 - d)), with its passes counted apart from the
    denoiser's.

    Args:
        discriminator: ``(x, sigma [n], labels) -> logit [n]`` in float32, frozen encoder and head.
        window: lowest and highest sigma at which it says anything.

    Attributes:
        passes: evaluations so far, each forward and backward through encoder and head.

    """

    def __init__(
        self,
        discriminator: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        window: tuple[float, float] = WINDOW,
    ):
        self.discriminator, self.window, self.passes = discriminator, window, 0

    def __call__(self, sigma: float | Tensor, x: Tensor, labels: Tensor | None = None) -> Term:
        """The term at x ``[n, ...]`` and noise level sigma, one for all or ``[n]``."""
        levels = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).expand(len(x))
        inside = (levels >= self.window[0]) & (levels <= self.window[1])
        if not inside.any():
            return Term(torch.zeros_like(x, dtype=torch.float64), levels.new_zeros(len(x)))
        self.passes += 1
        with torch.enable_grad():
            state = x.detach().float().requires_grad_()
            log_ratio = clipped_log_ratio(self.discriminator(state, levels.float(), labels))
            (gradient,) = torch.autograd.grad(log_ratio.sum(), state)
        inside = inside.to(x.device)
        slope = -_like(levels * inside, gradient) * gradient.double()
        return Term(slope, log_ratio.detach().double() * inside)


def clipped_log_ratio(logit: Tensor) -> Tensor:
    """log(d / (1 - d)) of d = sigmoid(logit) clipped to [CLIP, 1 - CLIP]; its gradient is 0 beyond."""
    bound = torch.logit(torch.tensor(1 - CLIP, dtype=torch.float64, device="cpu")).item()
    return logit.clamp(-bound, bound)


@dataclass(frozen=True)
class Guide:
    """How a sampler uses guidance.

    Attributes: guidance: see ``Guidance``. weight: factor of the term at the first evaluation of a
        step; 0 asks for none. With ``second`` 0, Heun's method
            applies half of it.
        second: the same at Heun's second evaluation; weight 1 at both is the full correction.

    """

    guidance: Callable[[float | Tensor, Tensor, Tensor | None], Term]
    weight: float = 1.0
    second: float = 0.0

    def first_slope(self, sigma: float, x: Tensor, labels: Tensor | None) -> Tensor | float:
        """What to add to the slope at a step's start."""
        return self.weight * self.guidance(sigma, x, labels).slope if self.weight else 0.0

    def second_slope(self, sigma: float, x: Tensor, labels: Tensor | None) -> Tensor | float:
        """What to add to the slope at a step's end."""
        return self.second * self.guidance(sigma, x, labels).slope if self.second else 0.0


def _like(per_sample: Tensor, x: Tensor) -> Tensor:
    """``[n]`` shaped to multiply x ``[n, ...]``."""
    return per_sample.reshape(-1, *[1] * (x.ndim - 1))
