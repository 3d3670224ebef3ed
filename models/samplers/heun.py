"""Deterministic samplers of the probability-flow ODE dx/dsigma = (x - D(x; sigma)) / sigma (Karras
et al. 2022, Eq. 4).

Pure functions of a denoiser ``(x, sigma, labels) -> D``, one signature. The state is float64; the
denoiser sees float32 or what it asks for. A denoiser trained with a coupling is no score, but (x -
D) / sigma is still the mean velocity, so only these deterministic samplers stay exact for it.
"""

from __future__ import annotations

from torch import Tensor

from models.guidance.guide import Guide
from models.samplers.contract import Denoise, Observe, _evaluate, _intervals


def heun(
    denoise: Denoise,
    latents: Tensor,
    sigmas: Tensor,
    labels: Tensor | None = None,
    observe: Observe | None = None,
    guide: Guide | None = None,
) -> Tensor:
    """Integrate by Heun's method with a last Euler step to 0 (Karras et al. 2022, Alg. 1). Order 2.

    Args: denoise: the denoiser. latents: unit noise ``[n, c, h, w]``; sampling starts at ``latents
        * sigmas[0]``. sigmas: falling noise levels ``[steps + 1]`` that end with 0. labels: one-hot
        ``[n, label_dim]`` or None. observe: called with (sigma, x, D) at the start of every step.
        guide: discriminator guidance, added to the slope; with weights 0, and with None, the result
        is the same bits.

    Returns:
        Images ``[n, c, h, w]`` in float64, after 2 steps - 1 evaluations.

    """
    x = latents.double() * sigmas[0].item()
    for sigma, sigma_next in _intervals(sigmas):
        # Euler step.
        denoised = _evaluate(denoise, x, sigma, labels)
        if observe:
            observe(sigma, x, denoised)
        slope = (x - denoised) / sigma
        if guide:
            slope = slope + guide.first_slope(sigma, x, labels)
        x_euler = x + (sigma_next - sigma) * slope
        if sigma_next == 0:
            return x_euler
        # Trapezoidal correction.
        slope_next = (x_euler - _evaluate(denoise, x_euler, sigma_next, labels)) / sigma_next
        if guide:
            slope_next = slope_next + guide.second_slope(sigma_next, x_euler, labels)
        x = x + (sigma_next - sigma) * (slope + slope_next) / 2
    return x
