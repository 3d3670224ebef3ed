"""A stochastic sampler: the reverse-time SDE of x = y + sigma n, for denoisers whose (D - x) /
sigma^2 is the score.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from models.samplers.contract import Denoise, Observe
from models.streams import Streams, unit_noise


def euler_maruyama(
    denoise: Denoise,
    latents: Tensor,
    sigmas: Tensor,
    labels: Tensor | None = None,
    observe: Observe | None = None,
    *,
    streams: Streams,
    coupled: bool,
) -> Tensor:
    """Integrate dx = -score d(sigma^2) + dw by Euler and Maruyama, with sigma^2 for the time (Song
    et al. 2021, Eq. 6).

    With that clock a step takes x towards D by 1 - sigma'^2 / sigma^2, at most all the way, at any
    step size. The last step, to 0, adds no noise. One evaluation a step; weak order 1.

    Args: denoise: the denoiser. latents: ``[n, ...]``; sampling starts at ``latents * sigmas[0]``.
        sigmas: falling noise levels ``[steps + 1]`` that end with 0. labels: one-hot ``[n,
        label_dim]`` or None. observe: called with (sigma, x, D) at the start of every step.
        streams: n generators, one a sample, on any device. coupled: whether the denoiser was
        trained with a coupling; then a UserWarning says what that means.

    Returns:
        Images ``[n, ...]`` in float64.

    Raises:
        ValueError: not as many streams as latents.

    """
    if coupled:
        warnings.warn(
            "a denoiser trained with a coupling gives no score, and stochastic samples of it are"
            " biased: take a deterministic sampler (heun)",
            stacklevel=2,
        )
    x, levels = latents.double() * sigmas[0].item(), sigmas.tolist()
    for sigma, sigma_next in zip(levels[:-1], levels[1:], strict=True):
        denoised = denoise(x, torch.tensor(sigma, dtype=x.dtype, device=x.device), labels).double()
        if observe:
            observe(sigma, x, denoised)
        variance = sigma**2 - sigma_next**2
        x = x + variance * (denoised - x) / sigma**2
        if sigma_next > 0:
            x = x + variance**0.5 * unit_noise(x, streams)
    return x
