"""How images are sampled for a measurement: latents found by their index, and a sampler with its settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.config import EvaluationConfig
from bench.data import Dataset
from bench.randomness import generator
from bench.record import Measurement
from models.precondition import EDMDenoiser
from models.samplers import CountNFE, Observe, euler, heun
from models.schedule import heun_steps, karras_sigmas

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

    def __getitem__(self, rows: slice) -> Latents:
        return Latents(self.noise[rows], self.labels[rows])

    def __len__(self) -> int:
        return len(self.noise)


def draw_latents(n: int, dataset: Dataset, seed: int, start: int = 0) -> Latents:
    """Latents start .. start + n - 1 of a seed, one generator a sample: none depends on the others drawn with it."""
    noise, labels = [], []
    for index in range(start, start + n):
        g = generator(seed, "latents", step=index)
        noise.append(torch.randn(dataset.image_shape, generator=g))
        labels.append(torch.randint(dataset.num_classes, (), generator=g))
    return Latents(torch.stack(noise), torch.stack(labels))


@torch.no_grad()
def sample(
    net: EDMDenoiser,
    latents: Latents,
    setting: Setting,
    config: EvaluationConfig,
    device: str,
    observe: Observe | None = None,
    advance: Callable[[int], object] = lambda n: None,
) -> tuple[Tensor, int]:
    """Sample images ``[n, c, h, w]`` float32 on the CPU; also the measured evaluations per image, rounded.

    ``observe`` sees the path of one chunk after the other; a path is observed whole with at most CHUNK latents.
    """
    images, evaluations = [], 0
    for start in range(0, len(latents), CHUNK):
        part = latents[start : start + CHUNK]
        labels = one_hot(net, part, device)
        denoise = CountNFE(net)
        images.append(_integrate(denoise, part.noise.to(device), setting, config, labels, observe).float().cpu())
        evaluations += len(part) * denoise.nfe
        advance(len(part) * denoise.nfe)
    return torch.cat(images), round(evaluations / len(latents))


def one_hot(net: EDMDenoiser, latents: Latents, device: str) -> Tensor | None:
    """The classes ``[n, label_dim]`` that a conditional denoiser is told; None for any other."""
    return F.one_hot(latents.labels, net.label_dim).float().to(device) if net.label_dim else None


def _integrate(
    denoise: CountNFE,
    noise: Tensor,
    setting: Setting,
    config: EvaluationConfig,
    labels: Tensor | None,
    observe: Observe | None,
) -> Tensor:
    """The sampler of a setting from unit noise ``[n, c, h, w]`` on."""
    if setting.sampler.startswith("dopri5"):
        from models.adaptive import dopri5

        return dopri5(denoise, noise, config.sigma_min, config.sigma_max, tolerance(setting.sampler), labels)
    sampler, steps = {"heun": (heun, heun_steps), "euler": (euler, int)}[setting.sampler]
    sigmas = karras_sigmas(steps(setting.nfe), setting.rho, config.sigma_min, config.sigma_max)
    return sampler(denoise, noise, sigmas, labels, observe)


def tolerance(sampler: str) -> float:
    """The tolerance in the name of an adaptive sampler, such as ``dopri5:tolerance=0.001``."""
    return float(sampler.partition("tolerance=")[2])


def as_stored(images: Tensor, dataset: Dataset) -> Tensor:
    """Bring generated images to what the data set holds: uint8 levels, or floats, clipped where they are pictures."""
    if dataset.train.images.dtype == torch.uint8:
        return (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)  # + 128: half a level of rounding up
    return images.clamp(-1, 1) if dataset.bounded else images
