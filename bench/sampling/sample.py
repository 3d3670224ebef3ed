"""Samples images of latents with the sampler of a setting, and counts the evaluations."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bench.config import EvaluationConfig
from bench.record.specs import cfg_weight
from bench.sampling.latents import Latents
from bench.sampling.setting import Setting
from bench.sampling.starts import streams
from models.classifier_free import ClassifierFree
from models.denoiser import Denoiser
from models.guidance.guide import Boost, Guide
from models.ode import Denoise
from models.samplers.contract import ODE, CountNFE, FlowODE, Observe, SigmaODE
from models.schedules.contract import ends, flow_time
from models.starts.contract import PreparedStart

# Images sampled at a time: a bound on memory, and on the work that a kill loses.
CHUNK = 500


@dataclass(frozen=True)
class Steering:
    """Starts and guides by the names that settings have for them.

    Attributes:
        starts: by spec.
        guides: by label.
        coupled: True if the denoiser was trained with a coupling, so that it gives no score.
        seed: of the numbers that a start or a stochastic sampler draws.
        boost: True if guided sampling is boosted.

    """

    starts: Mapping[str, PreparedStart] = field(default_factory=dict)
    guides: Mapping[str, Guide] = field(default_factory=dict)
    coupled: bool = False
    seed: int = 0
    boost: bool = False

    def guide(self, label: str) -> Guide | None:
        """The discriminator's guide of a label; None without one."""
        if cfg_weight(label) is not None:
            return None
        guide = self.guides[label]
        return replace(guide, boost=Boost()) if self.boost else guide


@dataclass(frozen=True)
class Sampled:
    """Images and their cost.

    Attributes:
        images: ``[n, c, h, w]`` float32 on the CPU.
        nfe: measured evaluations of the network per image, rounded.
        passes: of a discriminator, forward and backward, per image, rounded.

    """

    images: Tensor
    nfe: int
    passes: int = 0


@torch.no_grad()
def sample(
    net: Denoiser,
    latents: Latents,
    setting: Setting,
    config: EvaluationConfig,
    device: str,
    observe: Observe | None = None,
    advance: Callable[[int], object] = lambda n: None,
    steering: Steering = Steering(),  # noqa: B008 - frozen
) -> Sampled:
    """Sample an image of every latent.

    Args:
        net: the denoiser.
        latents: noise and classes.
        setting: sampler, NFE, schedule, start and guidance.
        config: gives the range of sigma.
        device: where the denoiser is.
        observe: gets the path of one chunk after the other; a path is observed whole with at most
            CHUNK latents.
        advance: called with the evaluations of each chunk, for a progress bar.
        steering: starts and guides of the setting.

    """
    _warn_without_score(setting, steering)
    images = []
    evaluations = 0
    passes = 0
    for start in range(0, len(latents), CHUNK):
        part = latents[start : start + CHUNK]
        labels = part.labels.to(device)
        guide = steering.guide(setting.guidance)
        before = guide.guidance.passes if guide else 0
        noise, times, own = _begin(setting, part, labels, config, steering)
        # A new counter each: the sum is weighted by the size of the chunk.
        denoise = CountNFE(net)
        # Around the counter, so that both evaluations of the network count.
        ode = _ode(setting, net, ClassifierFree(denoise, setting.cfg), config.sigma_max)
        ode.labels = net.one_hot(labels)
        ode.observe = observe
        ode.guide = guide
        end = setting.solver(ode, noise, times, own)
        images.append(end.float().cpu())
        # An adaptive sampler takes another number in each chunk, so chunks count by their size.
        evaluations += len(part) * denoise.nfe
        if guide:
            passes += len(part) * (guide.guidance.passes - before)
        advance(len(part) * denoise.nfe)
    nfe = round(evaluations / len(latents))
    return Sampled(torch.cat(images), nfe, round(passes / len(latents)))


def _warn_without_score(setting: Setting, steering: Steering) -> None:
    """Warn of samples that are biased: only the ODE's velocity is right for coupled training."""
    if steering.coupled and not setting.solves_the_ode:
        warnings.warn(
            "a denoiser trained with a coupling gives no score, and stochastic samples of it are"
            " biased: take a deterministic sampler (heun)",
            # The line that called ``sample``.
            stacklevel=3,
        )


def _begin(
    setting: Setting,
    latents: Latents,
    labels: Tensor,
    config: EvaluationConfig,
    steering: Steering,
) -> tuple[Tensor, Tensor, list[torch.Generator]]:
    """Find what the sampler of a setting gets: latents, times and streams.

    ``labels`` are the classes of the latents on the denoiser's device.
    """
    noise = latents.noise.to(labels.device)
    # Starts and samplers share the streams: a start draws first, a sampler continues.
    own = streams(steering.seed, range(latents.first, latents.first + len(latents)))
    if setting.start == "gaussian":
        # Flow matching begins at pure noise, EDM at the highest level.
        in_flow = setting.plan.coordinates == "flow"
        top = math.inf if in_flow else config.sigma_max
        return noise, _times(setting, config.sigma_min, top), own
    start = steering.starts[setting.start]
    noise = start.latents(noise, own, labels)
    # A start lower down has all its evaluations between there and 0.
    return noise, _times(setting, config.sigma_min, start.sigma), own


def _times(setting: Setting, sigma_min: float, sigma_max: float) -> Tensor:
    """Times ``[steps + 1]`` of the schedule; only the ends for a sampler without fixed steps."""
    # On the CPU: samplers read the times as Python floats.
    if setting.fixed_steps:
        return setting.plan.times(setting.steps, sigma_min, sigma_max)
    return ends(setting.plan, sigma_min, sigma_max)


def _ode(setting: Setting, net: Denoiser, denoise: Denoise, sigma_max: float) -> ODE:
    """The sampling ODE in the coordinates of the setting's schedule."""
    if setting.plan.coordinates == "sigma":
        return SigmaODE(denoise)
    # A network of EDM was not trained at infinite noise: the highest level stands for what is
    # beyond it.
    highest = 1.0 if net.objective.at_pure_noise else flow_time(sigma_max)
    return FlowODE(denoise, highest=highest)
