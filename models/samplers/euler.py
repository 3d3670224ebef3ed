"""Euler's method along a schedule."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from models.samplers.contract import ODE, Sampler, intervals
from models.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Euler(Sampler):
    """Order 1, one evaluation per step.

    With D held constant, x and z move on the same line: between the same noise levels this is one
    method in both coordinates.
    """

    def steps(self, nfe: int) -> int:
        return nfe

    def __call__(self, ode: ODE, latents: Tensor, times: Tensor, streams: Streams = ()) -> Tensor:
        state = ode.start(latents, times)
        for time, following in intervals(times):
            # The step is negative: time falls.
            state = state + (following - time) * ode.first_slope(state, time)
        return state


euler = Euler()
