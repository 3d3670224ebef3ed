"""How images are sampled for a measurement: latents found by their index, and a sampler with its settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.config import ClassLaw, EvaluationConfig
from bench.data import Dataset
from bench.randomness import generator
from bench.record import Measurement
from models.adaptive import NotFinite, dopri5
from models.guidance import Boost, Guide, boosted_heun
from models.precondition import EDMDenoiser
from models.samplers import CountNFE, Observe, euler, heun
from models.schedule import heun_steps, karras_sigmas
from models.starts import Start
from models.stochastic import euler_maruyama

CHUNK = 500  # images sampled at a time


@dataclass(frozen=True)
class Setting:
    """All that images depend on besides the denoiser, the latents and the range of sigma: columns of the results.

    Attributes:
        sampler: ``heun``, ``euler``, or ``dopri5:tolerance=...``.
        nfe: denoiser evaluations per image; None before the adaptive sampler has found them.
        rho: exponent of the sigma schedule; None where the sampler chooses its own steps.
        start: where sampling begins.
        guidance: what steers it.

    """

    sampler: str = "heun"
    nfe: int | None = None
    rho: float | None = None
    start: str = "gaussian"
    guidance: str = "none"

    @property
    def name(self) -> str:
        """What tells it from other settings, for a folder: ``heun-nfe13-rho7``."""
        parts = [self.sampler]
        if self.nfe is not None:
            parts.append(f"nfe{self.nfe}")
        if self.rho is not None:
            parts.append(f"rho{self.rho:g}")
        parts += [word for word in (self.start, self.guidance) if word not in ("gaussian", "none")]
        return "-".join(parts).replace(":", "-")

    def row(self, metric: str, value: float = math.nan, **columns: object) -> Measurement:
        """A measurement under this setting."""
        return Measurement(metric, value, self.nfe, self.rho, self.sampler, self.start, self.guidance, **columns)

    def with_nfe(self, nfe: int) -> Setting:
        """The same with so many evaluations."""
        return replace(self, nfe=nfe)


@dataclass(frozen=True)
class Latents:
    """Where sampling begins: unit noise ``[n, c, h, w]`` and classes ``[n]``, found by sample index alone."""

    noise: Tensor
    labels: Tensor
    first: int = 0  # index of the first

    def __getitem__(self, rows: slice) -> Latents:
        return Latents(self.noise[rows], self.labels[rows], self.first + (rows.start or 0))

    def __len__(self) -> int:
        return len(self.noise)


def draw_latents(n: int, dataset: Dataset, seed: int, start: int = 0, law: ClassLaw = "data") -> Latents:
    """Latents start .. start + n - 1 of a seed, one generator a sample: none depends on the others drawn with it.

    By the law ``data`` a class comes as often as the training split has it, so that a perfect denoiser gives the
    mixture of classes that samples are compared with; by ``uniform`` all come equally often.
    """
    known = dataset.train.labels if law == "data" else torch.arange(dataset.num_classes, device="cpu")
    noise, labels = [], []
    for index in range(start, start + n):
        g = generator(seed, "latents", step=index)
        noise.append(torch.randn(dataset.image_shape, generator=g, dtype=torch.float32, device="cpu"))
        labels.append(known[torch.randint(len(known), (), generator=g, device="cpu")])
    return Latents(torch.stack(noise), torch.stack(labels), start)


@dataclass(frozen=True)
class Steering:
    """What the names of starts and of guidance in a setting stand for.

    Attributes:
        starts: by spec.
        guides: by label.
        coupled: whether the denoiser was trained with a coupling, so that it gives no score.
        seed: of what a start or a stochastic sampler draws.
        boost: whether guided sampling is boosted.

    """

    starts: Mapping[str, Start] = field(default_factory=dict)
    guides: Mapping[str, Guide] = field(default_factory=dict)
    coupled: bool = False
    seed: int = 0
    boost: bool = False


@dataclass(frozen=True)
class Sampled:
    """What a sampler gave.

    Attributes:
        images: ``[n, c, h, w]`` float32 on the CPU.
        nfe: measured evaluations of the denoiser per image, rounded.
        passes: those of a discriminator, forward and backward.

    """

    images: Tensor
    nfe: int
    passes: int = 0


@torch.no_grad()
def sample(
    net: EDMDenoiser,
    latents: Latents,
    setting: Setting,
    config: EvaluationConfig,
    device: str,
    observe: Observe | None = None,
    advance: Callable[[int], object] = lambda n: None,
    steering: Steering = Steering(),  # noqa: B008 - frozen
) -> Sampled:
    """Sample an image of every latent.

    ``observe`` sees the path of one chunk after the other; a path is observed whole with at most CHUNK latents.
    """
    images, evaluations, passes = [], 0, 0
    for start in range(0, len(latents), CHUNK):
        part, denoise = latents[start : start + CHUNK], CountNFE(net)
        guide = steering.guides.get(setting.guidance)
        before = guide.guidance.passes if guide else 0
        images.append(_integrate(denoise, part, setting, config, device, observe, steering).float().cpu())
        evaluations += len(part) * denoise.nfe
        passes += len(part) * (guide.guidance.passes - before if guide else 0)
        advance(len(part) * denoise.nfe)
    return Sampled(torch.cat(images), round(evaluations / len(latents)), round(passes / len(latents)))


def _integrate(
    denoise: CountNFE,
    latents: Latents,
    setting: Setting,
    config: EvaluationConfig,
    device: str,
    observe: Observe | None,
    steering: Steering,
) -> Tensor:
    """The sampler of a setting from its start on: images ``[n, c, h, w]`` in float64."""
    noise, labels, sigma_max = latents.noise.to(device), one_hot(denoise.denoise, latents, device), config.sigma_max
    streams = [generator(steering.seed, "start", step=latents.first + row) for row in range(len(latents))]
    if setting.start != "gaussian":
        start = steering.starts[setting.start]
        noise, sigma_max = start.latents(noise, streams, latents.labels.to(device)), start.sigma
    if setting.sampler.startswith("dopri5"):
        try:
            return dopri5(denoise, noise, config.sigma_min, sigma_max, tolerance(setting.sampler), labels)
        except NotFinite:  # the other samplers carry on with it to the end
            return torch.full_like(noise, math.nan, dtype=torch.float64)
    steps = heun_steps(setting.nfe) if setting.sampler == "heun" else setting.nfe
    sigmas = karras_sigmas(steps, setting.rho, config.sigma_min, sigma_max)
    if setting.sampler == "euler-maruyama":
        return euler_maruyama(denoise, noise, sigmas, labels, observe, streams=streams, coupled=steering.coupled)
    guide = None if setting.guidance == "none" else steering.guides[setting.guidance]
    if guide and steering.boost:
        return boosted_heun(denoise, noise, sigmas, labels, boost=Boost(guide, tuple(streams)))
    sampler = {"heun": heun, "euler": euler}[setting.sampler]
    return sampler(denoise, noise, sigmas, labels, observe, guide)


def one_hot(net: EDMDenoiser, latents: Latents, device: str) -> Tensor | None:
    """The classes ``[n, label_dim]`` that a conditional denoiser is told; None for any other."""
    return F.one_hot(latents.labels, net.label_dim).float().to(device) if net.label_dim else None


def tolerance(sampler: str) -> float:
    """The tolerance in the name of an adaptive sampler, such as ``dopri5:tolerance=0.001``."""
    return float(sampler.partition("tolerance=")[2])


def finite_rows(images: Tensor) -> Tensor:
    """Which images ``[n, c, h, w]`` have finite values only: ``[n]`` bool."""
    return images.flatten(1).isfinite().all(1)


def as_stored(images: Tensor, dataset: Dataset) -> Tensor:
    """Bring generated images to what the data set holds: uint8 levels, or floats, clipped where they are pictures.

    Neither can tell what was not finite, so note that first (``finite_rows``).
    """
    if dataset.train.images.dtype == torch.uint8:
        levels = images.nan_to_num(nan=0.0) * 127.5 + 128  # + 128: half a level of rounding up
        return levels.clamp(0, 255).to(torch.uint8)
    return images.clamp(-1, 1) if dataset.bounded else images
