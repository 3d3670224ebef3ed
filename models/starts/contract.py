"""Where sampling begins: at pure noise, or further on, at a lower level and a point found in one
jump.

All starts take the same latents. A map from latents to points, such as an optimal transport map, is
given as a callable.

The cell of a latent under an exact transport map is uniform over the targets. So samples from hard
maps are, in law, samples from targets drawn at random: `random-index` is the control that every
claim about them needs. Targets are noised independently of what they are, as for the training
without a coupling: a denoiser trained with one has seen other points at that level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.schedule import karras_sigmas
from models.streams import Streams, unit_noise

Map = Callable[[Tensor, Streams, Tensor | None], Tensor]
"""From unit noise ``[n, ...]``, streams and classes ``[n]`` or None to points ``[n, ...]``."""


@dataclass(frozen=True)
class Start:
    """A start that is ready to sample with.

    Attributes:
        spec: what it is, as in the column ``start``.
        sigma: the level at which sampling begins; evaluations count from there.
        map: the points of the latents; None where they are sigma times the latents.
        fresh: the map's points are clean, and noise of deviation sigma is added to them.

    """

    spec: str
    sigma: float
    map: Map | None = None
    fresh: bool = False

    def latents(self, noise: Tensor, streams: Streams = (), labels: Tensor | None = None) -> Tensor:
        """What a sampler takes: ``[n, ...]`` on the device of the noise; sampling begins at sigma
        times this.

        Args:
            noise: unit noise ``[n, ...]``.
            streams: n generators, for starts that draw: `random-index` and ``noise=fresh``.
            labels: classes ``[n]``, where the map has one potential a class.

        """
        if self.map is None:
            return noise
        points = self.map(noise, streams, labels).to(noise.device, torch.float64)
        if self.fresh:
            points = points + self.sigma * unit_noise(points, streams)
        return points / self.sigma

    def sigmas(self, steps: int, rho: float = 7.0, sigma_min: float = 0.002) -> Tensor:
        """Falling noise levels ``[steps + 1]`` to integrate along; see ``karras_sigmas``."""
        return karras_sigmas(steps, rho, sigma_min, self.sigma)
