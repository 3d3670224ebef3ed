"""Heun's method with a boost of the guidance (Kim et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.guidance.guide import Guide, _like


@dataclass(frozen=True)
class Boost:
    """More for samples that the discriminator takes for generated, log r < 0 (released settings of
    the paper).

    Their guidance is doubled on every ``double_every``-th step. On every ``churn_every``-th step,
    judged by the step before, they get fresh noise as in stochastic sampling (Karras et al. 2022,
    Alg. 2) with ``churn`` as S_churn.

    Attributes:
        guide: the guidance that is boosted.
        generators: one CPU generator a sample, so that no sample depends on those drawn with it.
        churn, churn_every, double_every: see above.

    """

    guide: Guide
    generators: tuple[torch.Generator, ...]
    churn: float = 4.0
    churn_every: int = 5
    double_every: int = 2


def boosted_heun(
    denoise: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    latents: Tensor,
    sigmas: Tensor,
    labels: Tensor | None = None,
    *,
    boost: Boost,
) -> Tensor:
    """Heun's method with boosted guidance; arguments and result as for
    ``models.samplers.heun.heun``.

    The noise is drawn anew as if independent of the image: not what a denoiser trained with a
    coupling has seen.
    """
    guide, x = boost.guide, latents.double() * sigmas[0].item()
    judged = torch.zeros(len(x), dtype=torch.float64, device=x.device)  # log r of the step before
    steps = len(sigmas) - 1
    for step, (now, after) in enumerate(
        zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True)
    ):
        sigma = torch.full_like(judged, now)
        if step and step % boost.churn_every == 0:  # nothing is judged before the first step
            gamma = min(boost.churn / steps, 2**0.5 - 1)
            raised = torch.where(judged < 0, sigma * (1 + gamma), sigma)
            x = x + _like((raised**2 - sigma**2).sqrt(), x) * _fresh(boost.generators, x)
            sigma = raised
        slope = (x - denoise(x, sigma, labels).double()) / _like(sigma, x)
        if guide.weight:
            term = guide.guidance(sigma, x, labels)
            judged = term.log_ratio
            doubled = (judged < 0) & (step % boost.double_every == 0)
            slope = slope + _like(guide.weight * (1 + doubled.double()), x) * term.slope
        x_euler = x + _like(after - sigma, x) * slope
        if after == 0:
            return x_euler
        level = torch.full_like(judged, after)
        slope_next = (x_euler - denoise(x_euler, level, labels).double()) / after
        slope_next = slope_next + guide.second_slope(after, x_euler, labels)
        x = x + _like(after - sigma, x) * (slope + slope_next) / 2
    return x


def _fresh(generators: tuple[torch.Generator, ...], x: Tensor) -> Tensor:
    """Unit noise like x, sample by sample from its own generator, drawn for all so that streams
    stay in step.
    """
    # Whatever the defaults: the numbers depend on both
    options = {"device": "cpu", "dtype": torch.float32}
    return torch.stack([torch.randn(x.shape[1:], generator=g, **options) for g in generators]).to(x)
