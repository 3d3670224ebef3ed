"""Euler's method along a schedule of noise levels."""

from __future__ import annotations

from torch import Tensor

from models.guidance.guide import Guide
from models.samplers.contract import Denoise, Observe, _evaluate, _intervals


def euler(
    denoise: Denoise,
    latents: Tensor,
    sigmas: Tensor,
    labels: Tensor | None = None,
    observe: Observe | None = None,
    guide: Guide | None = None,
) -> Tensor:
    """Integrate by Euler's method; arguments and result as for ``heun``. One evaluation a step,
    order 1.
    """
    x = latents.double() * sigmas[0].item()
    for sigma, sigma_next in _intervals(sigmas):
        denoised = _evaluate(denoise, x, sigma, labels)
        if observe:
            observe(sigma, x, denoised)
        slope = (x - denoised) / sigma
        if guide:
            slope = slope + guide.first_slope(sigma, x, labels)
        x = x + (sigma_next - sigma) * slope
    return x
