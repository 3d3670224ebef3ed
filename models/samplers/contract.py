"""The interface of samplers: methods that integrate the sampling ODE, see ``models.ode``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from models.naming import Named
from models.ode import ODE, CountNFE, Denoise, FlowODE, Observe, Point, SigmaODE
from models.streams import Streams

# Most are only handed on, so that a sampler finds all that it needs here.
__all__ = [
    "ODE",
    "CountNFE",
    "Denoise",
    "FlowODE",
    "Observe",
    "Point",
    "Sampler",
    "SigmaODE",
    "intervals",
]


class Sampler(Named, ABC):
    """Base of samplers: a frozen dataclass whose fields are its options.

    Attributes:
        fixed_steps: True if it follows a given schedule; False if it chooses its own steps, and
            with them the number of evaluations.
        solves_the_ode: True if it solves the probability-flow ODE, so that its samples can be
            compared with an exact solution, latent by latent.
        coordinates: those that it can integrate in, ``sigma`` and ``flow``; see ``models.ode``.

    """

    fixed_steps: ClassVar[bool] = True
    solves_the_ode: ClassVar[bool] = True
    coordinates: ClassVar[tuple[str, ...]] = ("sigma", "flow")

    @abstractmethod
    def steps(self, nfe: int) -> int:
        """Find the number of steps that take ``nfe`` evaluations of the denoiser.

        Raises:
            ValueError: no number of steps takes that many; the message names some that work.

        """

    @abstractmethod
    def __call__(self, ode: ODE, latents: Tensor, times: Tensor, streams: Streams = ()) -> Tensor:
        """Integrate from ``latents * times[0]`` down to 0.

        Args:
            ode: gives the slope, ``ode.first_slope(state, time)`` at the start of a step and
                ``ode.second_slope`` elsewhere; each is one evaluation of the denoiser.
            latents: unit noise ``[n, c, h, w]``.
            times: falling times ``[steps + 1]`` that end with 0: noise levels sigma, or times t of
                flow matching. A sampler without fixed steps gets the first, the last above 0, and
                0.
            streams: n generators, one per sample, for samplers that draw.

        Returns:
            images ``[n, c, h, w]`` in float64. At time 0, state and image are the same.

        """


def intervals(times: Tensor) -> list[tuple[float, float]]:
    """Pair each time with the next one."""
    levels = times.tolist()
    return list(zip(levels[:-1], levels[1:], strict=True))
