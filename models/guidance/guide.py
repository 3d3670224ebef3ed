"""Discriminator guidance in the sampler: the score plus w grad log r.

Kim et al. 2023, arXiv 2211.17091, Eq. 7. With the density ratio r = d / (1 - d) of a
discriminator, the ODE's slope dx/dsigma = -sigma score gets the term -sigma grad_x log r. By
default Heun's second evaluation stays unguided: a first-order correction.

How weights compare: Heun averages the slopes of its two evaluations, so a term at the first one
only counts half. With an exact ratio, weight 1 at both evaluations (``second`` 1) is the full
correction, from the generated distribution to the real one; weight 1 at the first one only is half
of it. Weight 2 there is the full one again, but as an Euler step, of first order in the step: with
few steps it falls short. Euler has one evaluation per step, so weight 1 is the full one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Sigma at which a sample is guided: the paper's VP time 0.01 and above.
WINDOW = (0.0447, float("inf"))
CLIP = 1e-5  # of d and 1 - d, beyond which the ratio is taken as constant


@dataclass(frozen=True)
class Term:
    """Contribution of guidance at one point; both are 0 outside the window.

    Attributes:
        slope: added to the ODE's slope, ``[n, ...]`` float64.
        log_ratio: log r ``[n]`` float64.

    """

    slope: Tensor
    log_ratio: Tensor


class Guidance:
    """(sigma, x, labels) -> -sigma grad_x log(d / (1 - d)).

    Its passes are counted separately from the denoiser's evaluations.

    Args:
        discriminator: ``(x, sigma [n], labels) -> logit [n]`` in float32, frozen encoder and head.
        window: lowest and highest sigma at which samples are guided.

    Attributes:
        passes: evaluations so far, each forward and backward through encoder and head.

    """

    def __init__(
        self,
        discriminator: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        window: tuple[float, float] = WINDOW,
    ):
        self.discriminator = discriminator
        self.window = window
        self.passes = 0

    def __call__(self, sigma: float | Tensor, x: Tensor, labels: Tensor | None = None) -> Term:
        """Compute the term at x ``[n, ...]`` and noise level sigma, one for all or ``[n]``."""
        levels = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).expand(len(x))
        inside = (levels >= self.window[0]) & (levels <= self.window[1])
        # A pass costs as much as an evaluation of a small denoiser, so none is wasted.
        if not inside.any():
            return Term(torch.zeros_like(x, dtype=torch.float64), levels.new_zeros(len(x)))
        self.passes += 1
        # Samplers run without gradients; this one is with respect to the image.
        with torch.enable_grad():
            # Float32: samplers keep float64, the discriminator's weights do not.
            state = x.detach().float().requires_grad_()
            log_ratio = clipped_log_ratio(self.discriminator(state, levels.float(), labels))
            # The sum separates by sample: each log ratio depends on its own image only.
            (gradient,) = torch.autograd.grad(log_ratio.sum(), state)
        inside = inside.to(x.device)
        slope = -like(levels * inside, gradient) * gradient.double()
        return Term(slope, log_ratio.detach().double() * inside)


def clipped_log_ratio(logit: Tensor) -> Tensor:
    """Compute log(d / (1 - d)) of d = sigmoid(logit), clipped to [CLIP, 1 - CLIP].

    Its gradient is 0 beyond: a discriminator that is certain gives no direction to trust.
    """
    # On the CPU and in float64 whatever torch's defaults: 1 - 1e-5 rounds in float32.
    bound = torch.logit(torch.tensor(1 - CLIP, dtype=torch.float64, device="cpu")).item()
    return logit.clamp(-bound, bound)


@dataclass(frozen=True, kw_only=True)
class Boost:
    """Extra noise and guidance for samples that the discriminator takes for generated, log r < 0.

    The defaults are the released settings of the paper. Guidance is doubled on every
    ``double_every``-th step. On every ``churn_every``-th step, judged by the step before, samples
    get fresh noise as in stochastic sampling (Karras et al. 2022, Alg. 2) with ``churn`` as
    S_churn.
    """

    churn: float = 4.0
    churn_every: int = 5
    double_every: int = 2


@dataclass(frozen=True)
class Guide:
    """Use of guidance by a sampler.

    Attributes:
        guidance: see ``Guidance``.
        weight: factor of the term at the first evaluation of a step; 0 asks for none. With
            ``second`` 0, Heun's method applies half of it.
        second: the same at Heun's second evaluation; weight 1 at both is the full correction.
        boost: of Heun's method; None for none.

    """

    guidance: Guidance
    weight: float = 1.0
    second: float = 0.0
    boost: Boost | None = None

    def first_slope(self, sigma: float, x: Tensor, labels: Tensor | None) -> Tensor | float:
        """Compute the addition to the slope at a step's start."""
        return self._weighted(self.weight, sigma, x, labels)

    def second_slope(self, sigma: float, x: Tensor, labels: Tensor | None) -> Tensor | float:
        """Compute the addition to the slope at a step's end."""
        return self._weighted(self.second, sigma, x, labels)

    def _weighted(
        self, weight: float, sigma: float, x: Tensor, labels: Tensor | None
    ) -> Tensor | float:
        # Weight 0 must not even evaluate the discriminator: the unguided run counts no passes.
        if not weight:
            return 0.0
        return weight * self.guidance(sigma, x, labels).slope


def like(per_sample: Tensor, x: Tensor) -> Tensor:
    """Shape ``[n]`` to multiply x ``[n, ...]``."""
    return per_sample.reshape(-1, *[1] * (x.ndim - 1))
