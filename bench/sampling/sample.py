"""How images are sampled for a measurement: latents found by their index, and a sampler with its
settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.config import EvaluationConfig
from bench.randomness import generator
from bench.sampling.latents import Latents, one_hot
from bench.sampling.setting import Setting, tolerance
from models.guidance.guide import Guide
from models.objectives.edm import EDMDenoiser
from models.samplers._boosted_heun import Boost, boosted_heun
from models.samplers.contract import CountNFE, Observe
from models.samplers.dopri5 import NotFinite, dopri5
from models.samplers.euler import euler
from models.samplers.euler_maruyama import euler_maruyama
from models.samplers.heun import heun
from models.schedule import heun_steps, karras_sigmas
from models.starts.contract import Start

CHUNK = 500  # images sampled at a time


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

    ``observe`` sees the path of one chunk after the other; a path is observed whole with at most
    CHUNK latents.
    """
    images, evaluations, passes = [], 0, 0
    for start in range(0, len(latents), CHUNK):
        part, denoise = latents[start : start + CHUNK], CountNFE(net)
        guide = steering.guides.get(setting.guidance)
        before = guide.guidance.passes if guide else 0
        images.append(
            _integrate(denoise, part, setting, config, device, observe, steering).float().cpu()
        )
        evaluations += len(part) * denoise.nfe
        passes += len(part) * (guide.guidance.passes - before if guide else 0)
        advance(len(part) * denoise.nfe)
    return Sampled(
        torch.cat(images), round(evaluations / len(latents)), round(passes / len(latents))
    )


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
    noise, labels, sigma_max = (
        latents.noise.to(device),
        one_hot(denoise.denoise, latents, device),
        config.sigma_max,
    )
    streams = [
        generator(steering.seed, "start", step=latents.first + row) for row in range(len(latents))
    ]
    if setting.start != "gaussian":
        start = steering.starts[setting.start]
        noise, sigma_max = start.latents(noise, streams, latents.labels.to(device)), start.sigma
    if setting.sampler.startswith("dopri5"):
        try:
            return dopri5(
                denoise, noise, config.sigma_min, sigma_max, tolerance(setting.sampler), labels
            )
        except NotFinite:  # the other samplers carry on with it to the end
            return torch.full_like(noise, math.nan, dtype=torch.float64)
    steps = heun_steps(setting.nfe) if setting.sampler == "heun" else setting.nfe
    sigmas = karras_sigmas(steps, setting.rho, config.sigma_min, sigma_max)
    if setting.sampler == "euler-maruyama":
        return euler_maruyama(
            denoise, noise, sigmas, labels, observe, streams=streams, coupled=steering.coupled
        )
    guide = None if setting.guidance == "none" else steering.guides[setting.guidance]
    if guide and steering.boost:
        return boosted_heun(denoise, noise, sigmas, labels, boost=Boost(guide, tuple(streams)))
    sampler = {"heun": heun, "euler": euler}[setting.sampler]
    return sampler(denoise, noise, sigmas, labels, observe, guide)
