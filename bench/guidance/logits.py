"""Logits of held-out real and generated images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.config.guidance import GuidanceConfig
from bench.data import Split
from bench.guidance.images import GuidedModel, Sides, noisy, one_hot
from bench.pairs.stream import PairStream
from bench.randomness import derive, generator
from couplings import get
from models.guidance.discriminator import Discriminator, draw_log_uniform_sigma

PROBE_POOLS = 4  # held-out pools of each kind that are judged


def kind_stream(
    config: GuidanceConfig,
    model: GuidedModel,
    split: Split,
    kind: str,
    batch: int,
    step: int,
    stop: int,
) -> PairStream:
    """Coupled pairs of reals or of fakes; ``bench.guidance.train`` says why they share no pool."""
    return PairStream(
        split.to(model.device),
        get(config.coupling),
        pool=config.pool,
        batch=batch,
        # A seed for each kind, so that reals and fakes do not meet the same noise samples.
        seed=derive(model.seed, f"guide {kind}"),
        start_step=step,
        stop_step=stop,
    )


@dataclass(frozen=True)
class Logits:
    """Logits ``[n]`` of held-out reals and of as many fakes, and the sigma of both, float32 on the
    CPU.
    """

    real: Tensor
    fake: Tensor
    sigma: Tensor


@torch.no_grad()
def judge(
    config: GuidanceConfig, model: GuidedModel, net: Discriminator, held: Sides, purpose: str
) -> Logits:
    """Judge held-out images, noised as in training, at ln sigma ~ U over the guided window."""
    net = net.eval()
    n = PROBE_POOLS * config.pool
    # Reals and fakes at the same levels, so that the level alone tells nothing about the kind.
    sigma = draw_log_uniform_sigma(n, generator(model.seed, f"guide {purpose}"), *model.guided)
    logits = {}
    for kind in ("real", "fake"):
        split = getattr(held, kind)
        stream = kind_stream(config, model, split, f"{purpose} {kind}", config.pool, 0, PROBE_POOLS)
        parts = []
        with stream:
            # A pool is a batch, so each takes as many levels as it has pairs.
            for pairs, levels in zip(stream, sigma.split(config.pool), strict=True):
                levels = levels.to(model.device)
                labels = one_hot(pairs.labels, net.label_dim, model.device)
                parts.append(net(noisy(pairs, levels), levels, labels).cpu())
        logits[kind] = torch.cat(parts)
    return Logits(logits["real"], logits["fake"], sigma)
