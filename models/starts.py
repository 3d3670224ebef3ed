"""Where sampling begins: at pure noise, or further on, at a lower level and a point found in one jump.

All starts take the same latents. A map from latents to points, such as an optimal transport map, is given as a
callable.

The cell of a latent under an exact transport map is uniform over the targets. So samples from hard maps are, in law,
samples from targets drawn at random: `random-index` is the control that every claim about them needs. Targets are
noised independently of what they are, as for the training without a coupling: a denoiser trained with one has seen
other points at that level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from models.schedule import karras_sigmas
from models.streams import Streams, uniform_index, unit_noise
from models.views import View, sigma_of

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
        """What a sampler takes: ``[n, ...]`` on the device of the noise; sampling begins at sigma times this.

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


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """Unit noise at the highest level: the full sampler."""

    name: ClassVar[str] = "gaussian"

    def level(self, sigma_max: float) -> float:
        """The level where sampling begins."""
        return sigma_max


@dataclass(frozen=True, kw_only=True)
class Truncated:
    """Unit noise at a level below the highest, where the data has left a trace that the noise lacks.

    Options:
        sigma: the level.
        step: the level as a step T' of another paper's schedule, instead of sigma.
        view: whose steps; see `models.views`.
    """

    name: ClassVar[str] = "truncated"

    sigma: float | None = None
    step: int | None = None
    view: View = "ddpm"

    def __post_init__(self):
        if (self.sigma is None) == (self.step is None):
            raise ValueError(f"{self.name} needs sigma or step, one of them: {self.name}:sigma=0.5")
        if not self.level() > 0:
            raise ValueError(f"{self.name}: sigma must be above 0, got {self.sigma}")

    def level(self, sigma_max: float = float("inf")) -> float:
        """The level where sampling begins.

        Raises:
            ValueError: above ``sigma_max``, or no such step.

        """
        sigma = self.sigma if self.step is None else sigma_of(self.view, self.step)
        if sigma > sigma_max:
            raise ValueError(f"{self.name} at sigma {sigma:g}: sampling begins at {sigma_max:g} at most")
        return sigma


@dataclass(frozen=True, kw_only=True)
class RandomIndex(Truncated):
    """A noised target drawn at random: what is left of the jumps below without their transport map.

    Options, besides those of `truncated`:
        targets: images of the training or of the held-out split, or made by the model itself.
        noise: `frozen`, drawn once for each target and part of it, or `fresh` for each sample.
    """

    name: ClassVar[str] = "random-index"

    targets: Literal["train", "test", "model"] = "train"
    noise: Literal["frozen", "fresh"] = "frozen"


@dataclass(frozen=True, kw_only=True)
class Expressway(RandomIndex):
    """The noised target in whose cell of the transport map the latent lies (DPM-OT, Li et al. 2023).

    With `noise=fresh` the map is that to the clean targets. The released code of DPM-OT takes targets=test.

    Options, besides those of `random-index`:
        project: `pca:K` finds cells in K principal components of the targets.
    """

    name: ClassVar[str] = "expressway"

    project: str | None = None


@dataclass(frozen=True, kw_only=True)
class OTPrior(Expressway):
    """The gradient of the Brenier potential, hard or smoothed, of noised data (Wang et al. 2024, Alg. 2).

    Hard it is `expressway`: the two papers differ in the level they jump to and in how they go on.

    Options, besides those of `expressway`:
        tau: temperature of the softmax over the targets, in units of the median gap between the two best scores,
            because that gap depends on data and dimension; 0 takes the best target alone.
    """

    name: ClassVar[str] = "ot-prior"

    tau: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.tau < 0:
            raise ValueError(f"{self.name}: tau must be 0 or above, got {self.tau}")


Plan = Gaussian | Truncated
KINDS: dict[str, type[Plan]] = {kind.name: kind for kind in (Gaussian, Truncated, RandomIndex, Expressway, OTPrior)}


def random_index(targets: Tensor, labels: Tensor | None = None) -> Map:
    """The map to a target ``[N, ...]`` drawn uniformly; with classes ``[N]``, from the class that is wanted."""
    everything = torch.arange(len(targets), device="cpu")
    members = {} if labels is None else {c: everything[labels.cpu() == c] for c in labels.unique().tolist()}

    def draw(noise: Tensor, streams: Streams, wanted: Tensor | None) -> Tensor:
        pools = [everything] * len(noise) if labels is None else [members[c] for c in wanted.tolist()]
        places = uniform_index([len(pool) for pool in pools], streams).tolist()
        rows = [pool[place].item() for pool, place in zip(pools, places, strict=True)]
        return targets[torch.tensor(rows, dtype=torch.int64, device=targets.device)]

    return draw
