"""Heun's method with a last Euler step to 0 (Karras et al. 2022, Alg. 1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from models.guidance.guide import Guide
from models.samplers._boosted_heun import boosted_heun
from models.samplers.contract import (
    Denoise,
    Observe,
    Sampler,
    evaluate,
    intervals,
    start_point,
)
from models.schedule import heun_steps
from models.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Heun(Sampler):
    """Order 2, two evaluations per step and one in the last: 2 steps - 1."""

    def steps(self, nfe: int) -> int:
        return heun_steps(nfe)

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
        if guide and guide.boost:
            return boosted_heun(denoise, latents, sigmas, labels, guide, streams)
        x = start_point(latents, sigmas)
        for sigma, sigma_next in intervals(sigmas):
            # Euler step.
            denoised = evaluate(denoise, x, sigma, labels)
            if observe:
                observe(sigma, x, denoised)
            # dx / dsigma (Karras et al. 2022, Eq. 4), with sigma itself as time.
            slope = (x - denoised) / sigma
            if guide:
                slope = slope + guide.first_slope(sigma, x, labels)
            x_euler = x + (sigma_next - sigma) * slope
            # The slope at sigma 0 is 0 / 0, so the last step has no correction.
            if sigma_next == 0:
                return x_euler
            # Trapezoidal correction.
            denoised_next = evaluate(denoise, x_euler, sigma_next, labels)
            slope_next = (x_euler - denoised_next) / sigma_next
            if guide:
                slope_next = slope_next + guide.second_slope(sigma_next, x_euler, labels)
            x = x + (sigma_next - sigma) * (slope + slope_next) / 2
        return x


heun = Heun()
