"""DPM-Solver++(2M): the multistep method of order 2 for the denoiser (Lu et al. 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from models.samplers.contract import ODE, Sampler, intervals
from models.streams import Streams


@dataclass(frozen=True, kw_only=True)
class DPMSolver(Sampler):
    """Order 2 with one evaluation per step (arXiv 2211.01095, Alg. 2).

    D is extrapolated linearly in lambda = -ln sigma from this point and the one before, and the
    linear part of the ODE is solved exactly:

        state' = (time' / time) state + (1 - time' / time) D~,  D~ = D + (D - D_before) h' / (2 h)

    with the steps h of lambda. This form holds in both coordinates. The first step, and the last
    one to 0, where lambda is infinite, take D as it is: Euler steps. Guides are added to D.
    """

    def steps(self, nfe: int) -> int:
        return nfe

    def __call__(self, ode: ODE, latents: Tensor, times: Tensor, streams: Streams = ()) -> Tensor:
        state = ode.start(latents, times)
        before: tuple[float, Tensor] | None = None
        for time, following in intervals(times):
            # D, with what a guide adds to the slope.
            denoised = state - time * ode.first_slope(state, time)
            level = _log_sigma(ode, time)
            corrected = denoised
            if before is not None and following > 0:
                last_level, last_denoised = before
                # Lambda falls as ln sigma rises: both differences are positive.
                ratio = (level - _log_sigma(ode, following)) / (last_level - level)
                corrected = denoised + ratio / 2 * (denoised - last_denoised)
            before = level, denoised
            state = following / time * state + (1 - following / time) * corrected
        return state


def _log_sigma(ode: ODE, time: float) -> float:
    """Logarithm of the noise level; infinite at pure noise, whose D then has no weight."""
    if ode.coordinates == "sigma":
        return math.log(time)
    return math.log(time) - math.log1p(-time) if time < 1 else math.inf


dpmpp_2m = DPMSolver()
