"""Heun's method with a last Euler step to 0 (Karras et al. 2022, Alg. 1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from models.samplers._boosted_heun import boosted_heun
from models.samplers.contract import ODE, Sampler, intervals
from models.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Heun(Sampler):
    """Order 2, two evaluations per step and one in the last: 2 steps - 1."""

    def steps(self, nfe: int) -> int:
        return heun_steps(nfe)

    def __call__(self, ode: ODE, latents: Tensor, times: Tensor, streams: Streams = ()) -> Tensor:
        if ode.guide and ode.guide.boost:
            return boosted_heun(ode, latents, times, streams)
        state = ode.start(latents, times)
        for time, following in intervals(times):
            # Euler step.
            slope = ode.first_slope(state, time)
            predicted = state + (following - time) * slope
            # The slope at time 0 is 0 / 0, so the last step has no correction.
            if following == 0:
                return predicted
            # Trapezoidal correction.
            slope_next = ode.second_slope(predicted, following)
            state = state + (following - time) * (slope + slope_next) / 2
        return state


def heun_steps(nfe: int) -> int:
    """Find the steps of Heun's method that take ``nfe`` = 2 steps - 1 evaluations.

    Raises:
        ValueError: no number of steps takes that many.

    """
    if nfe < 3 or nfe % 2 == 0:
        raise ValueError(
            f"{nfe} evaluations: Heun takes 2 steps - 1 of them, with 2 steps or more: 3, 5, 7, ..."
        )
    return (nfe + 1) // 2


heun = Heun()
