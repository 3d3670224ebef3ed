"""Starts of sampling: pure noise, or a lower noise level at a point found in one jump.

All starts take the same latents. A ``Start`` is a choice with its options; a ``PreparedStart`` has
its targets and its fitted map, and gives the latents that a sampler takes.

The cell of a latent under an exact transport map is uniform over the targets. Samples from hard
maps therefore have the same distribution as samples from targets drawn uniformly: `random-index` is
the control that every claim about them needs. Targets are noised independently of the image, as in
training without a coupling: a denoiser trained with one has seen other points at that level.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from models.naming import Named
from models.schedules.karras import karras_sigmas
from models.streams import Streams, unit_noise

Map = Callable[[Tensor, Streams, Tensor | None], Tensor]
"""From unit noise ``[n, ...]``, streams and classes ``[n]`` or None to points ``[n, ...]``."""


class Targets(Protocol):
    """Target images of a start, and the transport map to them.

    Attributes:
        images: ``[N, ...]`` in [-1, 1], noised already if the start's noise is frozen.
        labels: classes ``[N]`` if the denoiser is conditional, else None.

    """

    @property
    def images(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor | None: ...

    def transport(self, project: str | None = None, tau: float = 0.0) -> Map:
        """Fit the optimal transport map from unit noise to the images.

        Args:
            project: `pca:K` finds cells in K principal components of the images.
            tau: temperature of a softmax over the images, in units of the median gap between the
                two best scores; 0 takes the best image only.

        """


class Start(Named, ABC):
    """Base of starts: a frozen dataclass whose fields are its options.

    Attributes:
        targets: images that the start needs: ``train``, ``test``, ``model`` (generated), or None.
        noise: ``frozen``, drawn once per target and part of it, or ``fresh`` for each sample.

    """

    targets: str | None = None
    noise: str = "frozen"

    @abstractmethod
    def level(self, sigma_max: float = float("inf")) -> float:
        """Give the noise level at which sampling begins.

        Raises:
            ValueError: above ``sigma_max``, or no such level.

        """

    def place(self, targets: Targets) -> Map | None:
        """Make the map from unit noise to points at that level; None leaves sigma times the noise.

        With fresh noise the map's points are clean images. Called only if ``targets`` is not None.
        """
        return None

    @property
    def takes_whole_targets(self) -> bool:
        """True if the map sends each latent to exactly one target."""
        return False


@dataclass(frozen=True)
class PreparedStart:
    """A start with its targets and its fitted map.

    Attributes:
        spec: canonical spec, as in the column ``start`` of the results.
        sigma: level at which sampling begins; evaluations count from there.
        map: points of the latents; None if they are sigma times the latents.
        fresh: True if the map's points are clean, and noise of deviation sigma is added to them.
        choice: the start, with its options, that this was prepared from.
        targets: images and labels of the targets; None without.
        fitted: transport map; None without.
        costs: measurements by name: ``start_targets`` and, of a fit, ``start_fit_seconds``,
            ``start_fit_noises`` and ``start_chi2``. A fit read from its file keeps the cost of
            when it was made.

    """

    spec: str
    sigma: float
    map: Map | None = None
    fresh: bool = False
    choice: Start | None = None
    targets: Any = None
    fitted: Any = None
    costs: Mapping[str, float] = field(default_factory=dict)

    def latents(self, noise: Tensor, streams: Streams = (), labels: Tensor | None = None) -> Tensor:
        """Compute a sampler's latents ``[n, ...]``; sampling begins at sigma times these.

        Args:
            noise: unit noise ``[n, ...]``.
            streams: n generators, for starts that draw: `random-index` and ``noise=fresh``.
            labels: classes ``[n]``, if the map has one potential per class.

        """
        if self.map is None:
            return noise
        points = self.map(noise, streams, labels).to(noise.device, torch.float64)
        if self.fresh:
            points = points + self.sigma * unit_noise(points, streams)
        # Samplers begin by multiplying by sigma.
        return points / self.sigma

    def sigmas(self, steps: int, rho: float = 7.0, sigma_min: float = 0.002) -> Tensor:
        """Compute noise levels ``[steps + 1]`` to integrate along; see ``karras_sigmas``."""
        return karras_sigmas(steps, rho, sigma_min, self.sigma)
