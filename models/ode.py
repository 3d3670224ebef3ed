"""The sampling ODE, in the coordinates of EDM and in those of flow matching.

Karras et al. 2022, Eq. 4, with sigma as time: dx/dsigma = (x - D(x; sigma)) / sigma. The straight
path of flow matching is the same process in z = x / (1 + sigma) against t = sigma / (1 + sigma),
and its velocity is dz/dt = (z - D) / t. In both coordinates the slope is (state - D) / time, so a
sampler need not know which ones it integrates in.

A denoiser trained with a coupling gives no score, but (x - D) / sigma is still the mean velocity,
so only samplers of this ODE stay exact for it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from models.guidance.guide import Guide

Denoise = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""The denoiser as a function: (x, sigma, labels) -> D."""


@dataclass(frozen=True)
class Point:
    """A point of a sampling path.

    Attributes:
        time: sigma or t, by ``in_flow``.
        state: x or z, ``[n, ...]``.
        denoised: D there, ``[n, ...]``.
        in_flow: True if time and state are those of flow matching.

    """

    time: float
    state: Tensor
    denoised: Tensor
    in_flow: bool = False

    @cached_property
    def sigma(self) -> float:
        """Noise level; infinite at t = 1."""
        return sigma_of(self.time) if self.in_flow else self.time

    @cached_property
    def t(self) -> float:
        """Time of flow matching, from 0 at the image to 1 at the noise."""
        return self.time if self.in_flow else self.time / (1 + self.time)

    @cached_property
    def x(self) -> Tensor:
        """State of EDM, y + sigma n; not finite at t = 1."""
        return self.state * (1 + self.sigma) if self.in_flow else self.state

    @cached_property
    def z(self) -> Tensor:
        """State of flow matching, (1 - t) y + t n."""
        return self.state if self.in_flow else self.state / (1 + self.time)

    @cached_property
    def velocity(self) -> Tensor:
        """Velocity of flow matching, dz/dt."""
        if self.in_flow:
            return (self.state - self.denoised) / self.time
        return (self.state - self.denoised) / self.time - self.denoised


Observe = Callable[[Point], None]
"""Called with the point at the start of every step."""


def sigma_of(t: float) -> float:
    """Compute the noise level at a time of flow matching; infinite at 1."""
    return t / (1 - t) if t < 1 else math.inf


class CountNFE:
    """A denoiser that counts its evaluations: the only source of every NFE reported."""

    def __init__(self, denoise: Denoise):
        self.denoise = denoise
        self.nfe = 0

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        self.nfe += 1
        return self.denoise(x, sigma, labels)

    def at_time(self, z: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Evaluate in the coordinates of flow matching."""
        self.nfe += 1
        return at_time(self.denoise, z, t, labels)


def at_time(denoise: Denoise, z: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
    """Evaluate D at a state z ``[n, ...]`` of flow matching and a time t, a scalar.

    A ``Denoiser`` has an entrance of its own, which takes t = 1 if its objective allows that. A
    plain function takes sigma, so t must be below 1.
    """
    # Not by type, so that counters and wrappers of the user's are denoisers too.
    own = getattr(denoise, "at_time", None)
    if own is not None:
        return own(z, t, labels)
    sigma = t / (1 - t)
    return denoise(z * (1 + sigma), sigma, labels)


class ODE(ABC):
    """The sampling ODE of one batch, whose slope is (state - D) / time.

    Args:
        denoise: the denoiser.
        labels: one-hot ``[n, label_dim]`` or None.
        observe: called at the start of every step.
        guide: discriminator guidance, added to the slope. With weights 0 the result is bit for bit
            the one without a guide.

    Attributes:
        coordinates: ``sigma`` for x against sigma, ``flow`` for z against t.

    """

    coordinates: ClassVar[str]

    def __init__(
        self,
        denoise: Denoise,
        labels: Tensor | None = None,
        observe: Observe | None = None,
        guide: Guide | None = None,
    ):
        self.denoise = denoise
        self.labels = labels
        self.observe = observe
        self.guide = guide

    def start(self, latents: Tensor, times: Tensor) -> Tensor:
        """Scale unit noise ``[n, ...]`` to the first time, in float64.

        Steps add small changes to a state that is large at first: float32 would lose them.
        """
        return latents.double() * times[0].item()

    def first_slope(self, state: Tensor, time: float) -> Tensor:
        """Compute the slope at the start of a step, which is observed and guided."""
        return self.slope_of(state, time, self.observed(state, time))

    def second_slope(self, state: Tensor, time: float) -> Tensor:
        """Compute the slope at another point of a step, guided as a second evaluation."""
        slope = (state - self.denoised(state, time)) / time
        # Not observed: it is no point of the path.
        if self.guide:
            slope = slope + self._guided(self.guide.second_slope, state, time)
        return slope

    def observed(self, state: Tensor, time: float) -> Tensor:
        """Evaluate D at the start of a step, ``[n, ...]`` in float64, and show it to the
        observer.
        """
        denoised = self.denoised(state, time)
        if self.observe:
            self.observe(Point(time, state, denoised, self.coordinates == "flow"))
        return denoised

    def slope_of(self, state: Tensor, time: float, denoised: Tensor) -> Tensor:
        """Compute the guided slope at the start of a step from D there."""
        slope = (state - denoised) / time
        if self.guide:
            slope = slope + self._guided(self.guide.first_slope, state, time)
        return slope

    @abstractmethod
    def denoised(self, state: Tensor, time: float) -> Tensor:
        """Evaluate D at one time for all samples, ``[n, ...]`` in float64."""

    @abstractmethod
    def _guided(self, term: Callable, state: Tensor, time: float) -> Tensor | float:
        """Compute the guide's addition to the slope in these coordinates."""


class SigmaODE(ODE):
    """State x against sigma: dx/dsigma = (x - D) / sigma (Karras et al. 2022, Eq. 4)."""

    coordinates: ClassVar[str] = "sigma"

    def denoised(self, state: Tensor, time: float) -> Tensor:
        sigma = torch.tensor(time, dtype=state.dtype, device=state.device)
        return self.denoise(state, sigma, self.labels).double()

    def _guided(self, term: Callable, state: Tensor, time: float) -> Tensor | float:
        return term(time, state, self.labels)


class FlowODE(ODE):
    """State z against t: dz/dt = (z - D) / t, from pure noise at t = 1 (Lipman et al. 2023).

    Args:
        denoise: the denoiser.
        labels: one-hot ``[n, label_dim]`` or None.
        observe: called at the start of every step.
        guide: discriminator guidance, as for all.
        highest: time at which the denoiser is evaluated where the path is above it. EDM's network
            knows no infinite sigma: its D at sigma_max stands for those beyond, where it hardly
            changes. 1 if the denoiser can be evaluated at pure noise.

    """

    coordinates: ClassVar[str] = "flow"

    def __init__(
        self,
        denoise: Denoise,
        labels: Tensor | None = None,
        observe: Observe | None = None,
        guide: Guide | None = None,
        highest: float = 1.0,
    ):
        super().__init__(denoise, labels, observe, guide)
        self.highest = highest

    def denoised(self, state: Tensor, time: float) -> Tensor:
        # The state stays where it is; only the level that the network is told is bounded.
        t = torch.tensor(min(time, self.highest), dtype=state.dtype, device=state.device)
        return at_time(self.denoise, state, t, self.labels).double()

    def _guided(self, term: Callable, state: Tensor, time: float) -> Tensor | float:
        # A discriminator takes x and sigma. A term g of dx/dsigma moves D by -sigma g, and so
        # dz/dt by sigma g / t = (1 + sigma) g.
        sigma = sigma_of(min(time, self.highest))
        # A discriminator knows no infinite sigma, so pure noise is not guided.
        if math.isinf(sigma):
            return 0.0
        scale = 1 + sigma
        return scale * term(sigma, scale * state, self.labels)
