"""Euler's method along a schedule of noise levels."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from models.guidance.guide import Guide
from models.samplers.contract import (
    Denoise,
    Observe,
    Sampler,
    evaluate,
    intervals,
    start_point,
)
from models.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Euler(Sampler):
    """Order 1, one evaluation per step."""

    def steps(self, nfe: int) -> int:
        return nfe

    def __call__(
        self,
        denoise: Denoise,
        latents: Tensor,
        sigmas: Tensor,
        labels: Tensor | None = None,
        observe: Observe | None = None,
        guide: Guide | None = None,
        streams: Streams = (),
    ) -> Tensor:
        x = start_point(latents, sigmas)
        for sigma, sigma_next in intervals(sigmas):
            denoised = evaluate(denoise, x, sigma, labels)
            if observe:
                observe(sigma, x, denoised)
            slope = (x - denoised) / sigma
            if guide:
                slope = slope + guide.first_slope(sigma, x, labels)
            x = x + (sigma_next - sigma) * slope
        return x


euler = Euler()
