"""The explicit midpoint method along a schedule."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from models.samplers.contract import ODE, Sampler, intervals
from models.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Midpoint(Sampler):
    """Order 2, two evaluations per step: the slope in the middle of a step is that of all of it.

    It never evaluates at time 0, so the last step needs no exception.
    """

    def steps(self, nfe: int) -> int:
        # One step alone would go from noise to image by the slope in between.
        if nfe < 4 or nfe % 2:
            raise ValueError(
                f"{nfe} evaluations: midpoint takes 2 per step, with 2 steps or more: 4, 6, 8, ..."
            )
        return nfe // 2

    def __call__(self, ode: ODE, latents: Tensor, times: Tensor, streams: Streams = ()) -> Tensor:
        state = ode.start(latents, times)
        for time, following in intervals(times):
            # Half of the step; it is negative, as time falls.
            half = (following - time) / 2
            middle = state + half * ode.first_slope(state, time)
            state = state + 2 * half * ode.second_slope(middle, time + half)
        return state


midpoint = Midpoint()
