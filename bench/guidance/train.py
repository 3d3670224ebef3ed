"""Trains the discriminator of an arm: its own samples against real images, at all noise levels (Kim
et al. 2023).

Reals are the training images as stored, fakes are sampled from the arm's denoiser without guidance.
Both are noised with unit noise, independent or coupled to the images (arXiv 2403.05069). Reals and
fakes are coupled in pools of their own: in one pool an assignment would share the noises out
between the two kinds, and the noise itself would tell real from fake. What remains is that each
kind's coupling is its own: noisy reals and fakes then follow the laws that a denoiser trained on
each with this coupling would meet.

Images, noises and sigmas are found by seed and step: all arms, and all kinds of noising, see the
same. Over-training hurts guidance, so checkpoints are kept on the way, and real and fake images
held out from training choose one of them. The test split has no part in that. The folder of an
arm's discriminators holds::

    fakes-<hash>/                      the generated images
    dg-<noising>-<hash>/
        checkpoint.pt                  the training state; removed when it is done
        discriminator.pt               the chosen one, and what it was made for
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from bench.config.guidance import GuidanceConfig
from bench.guidance import encoder as noisy_encoder
from bench.guidance.file import Trained, load_discriminator, read_trained, write_trained
from bench.guidance.images import Arm, Sides, hold_out, make_fakes, noisy, one_hot
from bench.guidance.logits import judge, kind_stream
from bench.pairs.pool import Pairs
from bench.process.defaults import plain_torch
from bench.randomness import derive, generator
from models.guidance.discriminator import (
    Discriminator,
    Head,
    HeadOptions,
    draw_log_uniform_sigma,
    feature_channels,
)

KEPT = (1 / 8, 1 / 4, 1 / 2, 1)  # of the budget, where checkpoints are kept
WEIGHT_DECAY = 1e-7
CHECK_EVERY = 200  # steps between checkpoints of the training state


@plain_torch()
def train_discriminator(
    config: GuidanceConfig, arm: Arm, parent: Path, cache: Path, progress: bool = True
) -> tuple[Trained, Sides]:
    """The discriminator of an arm, trained in a folder of ``parent`` or read from there, and the
    images held out from it.

    A stopped training goes on, to the same weights.

    Raises:
        GuideError: the folder's discriminator is of another denoiser or data set, or damaged.
        models.guidance.discriminator.EncoderRefused: the encoder's file does not suit.
        couplings.CouplingError: a pool cannot be coupled.

    """
    spelled = "".join(c if c.isalnum() or c in "-.=" else "_" for c in config.noising[0])
    folder = parent / f"dg-{spelled}-{config.digest}"
    encoder = noisy_encoder.load(arm.dataset, cache, arm.device, config.encoder)
    fakes = make_fakes(config, arm, parent, progress)  # discriminators of one arm share them
    (real, held_real), (fake, held_fake) = (
        hold_out(x, config.held_out) for x in (arm.dataset.train, fakes)
    )
    if not (folder / "discriminator.pt").exists():
        _train(
            config, arm, encoder, Sides(real, fake), Sides(held_real, held_fake), folder, progress
        )
    trained = load_discriminator(folder / "discriminator.pt", arm, encoder)
    return trained, Sides(held_real, held_fake)


def _train(
    config: GuidanceConfig,
    arm: Arm,
    encoder: noisy_encoder.Encoder,
    sides: Sides,
    held: Sides,
    folder: Path,
    progress: bool,
) -> None:
    """Plain binary cross-entropy at ln sigma ~ U, Adam; leaves discriminator.pt and removes what it
    resumes from.
    """
    half, steps = config.batch // 2, max(1, round(config.images / config.batch))
    keep = {max(1, round(share * steps)) for share in KEPT}
    net = _build(config, arm, encoder)
    optimizer = torch.optim.Adam(net.head.parameters(), lr=config.lr, weight_decay=WEIGHT_DECAY)
    step, kept = 0, {}
    if content := read_trained(folder / "checkpoint.pt", arm, encoder):
        net.head.load_state_dict(content["head"])
        optimizer.load_state_dict(content["optimizer"])
        step, kept = content["step"], content["kept"]
    bar = tqdm(
        total=steps, initial=step, desc=f"train {config.name}", disable=None if progress else True
    )
    reals, fakes = (
        kind_stream(config, arm, getattr(sides, kind), kind, half, step, steps)
        for kind in ("real", "fake")
    )
    with bar, reals, fakes:
        for real, fake in zip(reals, fakes, strict=True):
            _step(net.train(), optimizer, real, fake, generator(arm.seed, "guide sigma", step=step))
            step += 1
            bar.update()
            if step in keep:
                kept[step] = {
                    name: tensor.clone() for name, tensor in net.head.state_dict().items()
                }
            if step % CHECK_EVERY == 0 and step < steps:
                state = {"head": net.head.state_dict(), "optimizer": optimizer.state_dict()}
                write_trained(folder / "checkpoint.pt", arm, encoder, step=step, kept=kept, **state)
    best, losses = _choose(config, arm, net, kept, held)
    head = {
        "head": kept[best],
        "options": vars(net.head.options),
        "images": best * config.batch,
        "losses": losses,
    }
    write_trained(folder / "discriminator.pt", arm, encoder, **head)
    (folder / "checkpoint.pt").unlink(missing_ok=True)


def _choose(
    config: GuidanceConfig,
    arm: Arm,
    net: Discriminator,
    kept: dict[int, dict[str, Tensor]],
    held: Sides,
) -> tuple[int, dict[int, float]]:
    """The step whose head has the least cross-entropy on held-out images, and those of all by
    images seen.
    """
    losses = {}
    for step, head in kept.items():
        net.head.load_state_dict(head)
        logits = judge(config, arm, net, held, "choose")
        losses[step] = F.softplus(torch.cat([-logits.real, logits.fake])).mean().item()
    # NaN is below nothing and above nothing, so it is ranked last.
    best = min(losses, key=lambda step: (math.isnan(losses[step]), losses[step]))
    return best, {step * config.batch: loss for step, loss in losses.items()}


def _build(config: GuidanceConfig, arm: Arm, encoder: noisy_encoder.Encoder) -> Discriminator:
    options = HeadOptions(config.width, config.blocks, arm.net.label_dim)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(arm.seed, "guide weights"))
        head = Head(feature_channels(encoder.net, arm.dataset.image_shape), options)
    return Discriminator(encoder.net, head).to(arm.device)


def _step(
    net: Discriminator,
    optimizer: torch.optim.Optimizer,
    real: Pairs,
    fake: Pairs,
    g: torch.Generator,
) -> None:
    sigma = draw_log_uniform_sigma(len(real.images) + len(fake.images), g).to(real.images.device)
    of_real, of_fake = sigma.split([len(real.images), len(fake.images)])
    x = torch.cat([noisy(real, of_real), noisy(fake, of_fake)])
    labels = one_hot(torch.cat([real.labels, fake.labels]), net.label_dim, x.device)
    is_real = (torch.arange(len(x), device=x.device) < len(real.images)).float()
    loss = F.binary_cross_entropy_with_logits(net(x, sigma, labels), is_real)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
