"""Trains a discriminator to tell a denoiser's samples from real images, at all noise levels (Kim et
al. 2023).

Reals are the training images as stored, fakes are sampled from the denoiser without guidance. Both
are noised with unit noise, independent or coupled to the images (arXiv 2403.05069). Reals and fakes
are coupled in separate pools. In one pool an assignment would divide the noise samples between the
two kinds, and the noise itself would give away which is real. Coupled separately, noisy reals and
fakes follow the distributions that a denoiser trained on each with this coupling would meet.

Images, noise and sigmas are found by seed and step, so they are the same for all runs and all kinds
of noising. Over-training hurts guidance. Several checkpoints are therefore kept, and real and fake
images held out from training choose one of them; the test split takes no part. The folder of a
run's discriminators holds::

    fakes-<hash>/                      the generated images
    dg-<noising>-<hash>/
        checkpoint.pt                  the training state; removed when it is done
        discriminator.pt               the chosen one, and what it was made for
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from bench.config.guidance import GuidanceConfig
from bench.guidance import encoder as noisy_encoder
from bench.guidance.file import Trained, load_discriminator, read_trained, write_trained
from bench.guidance.images import GuidedModel, Sides, hold_out, make_fakes, noisy, one_hot
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
    config: GuidanceConfig, model: GuidedModel, parent: Path, cache: Path, progress: bool = True
) -> tuple[Trained, Sides]:
    """The discriminator of a denoiser, and the images held out from its training.

    It is trained in a folder of ``parent``, or read from there. A stopped training resumes, to the
    same weights.

    Raises:
        GuideError: the folder's discriminator is of another denoiser or data set, or damaged.
        models.guidance.discriminator.EncoderRefused: the encoder's file does not suit.
        couplings.CouplingError: a pool cannot be coupled.

    """
    # A spec has colons and commas, which not every file system takes in a name.
    spelled = "".join(c if c.isalnum() or c in "-.=" else "_" for c in config.noising[0])
    folder = parent / f"dg-{spelled}-{config.digest}"
    file = Path(config.encoder) if config.encoder else None
    encoder = noisy_encoder.load(model.dataset, cache, model.device, file)
    # All discriminators of a run share the fakes.
    fakes = make_fakes(config, model, parent, progress)
    real, held_real = hold_out(model.dataset.train, config.held_out)
    fake, held_fake = hold_out(fakes, config.held_out)
    held = Sides(held_real, held_fake)
    path = folder / "discriminator.pt"
    if not path.exists():
        _train(config, model, encoder, Sides(real, fake), held, folder, progress)
    return load_discriminator(path, model, encoder), held


@dataclass
class _State:
    """The state of a training: steps taken, and the heads of its checkpoints by step."""

    net: Discriminator
    optimizer: torch.optim.Optimizer
    step: int = 0
    heads: dict[int, dict[str, Tensor]] = field(default_factory=dict)


def _train(
    config: GuidanceConfig,
    model: GuidedModel,
    encoder: noisy_encoder.Encoder,
    sides: Sides,
    held: Sides,
    folder: Path,
    progress: bool,
) -> None:
    """Binary cross-entropy at ln sigma ~ U, Adam; leaves discriminator.pt and removes the file that
    it resumes from.
    """
    # As many fakes as reals: only then is d / (1 - d) the ratio of their densities.
    half = config.batch // 2
    steps = max(1, round(config.images / config.batch))
    # A set, because with few steps two shares may round to the same step.
    keep = {max(1, round(share * steps)) for share in KEPT}
    resume = folder / "checkpoint.pt"
    state = _begin(config, model, encoder, resume)
    shown = None if progress else True
    bar = tqdm(total=steps, initial=state.step, desc=f"train {config.name}", disable=shown)
    reals = kind_stream(config, model, sides.real, "real", half, state.step, steps)
    fakes = kind_stream(config, model, sides.fake, "fake", half, state.step, steps)
    with bar, reals, fakes:
        for real, fake in zip(reals, fakes, strict=True):
            g = generator(model.seed, "guide sigma", step=state.step)
            _step(state.net.train(), state.optimizer, real, fake, g)
            state.step += 1
            bar.update()
            if state.step in keep:
                state.heads[state.step] = _copy_of_head(state.net)
            if state.step % CHECK_EVERY == 0 and state.step < steps:
                _save(resume, model, encoder, state)
    best, losses = _choose(config, model, state.net, state.heads, held)
    write_trained(
        folder / "discriminator.pt",
        model,
        encoder,
        head=state.heads[best],
        options=vars(state.net.head.options),
        images=best * config.batch,
        losses=losses,
    )
    # Only now: had the training been killed before, it would have begun from nothing.
    resume.unlink(missing_ok=True)


def _begin(
    config: GuidanceConfig, model: GuidedModel, encoder: noisy_encoder.Encoder, resume: Path
) -> _State:
    """A new training, or the one that was stopped."""
    net = _build(config, model, encoder)
    # Only the head is trained; the encoder stays as it is.
    optimizer = torch.optim.Adam(net.head.parameters(), lr=config.lr, weight_decay=WEIGHT_DECAY)
    content = read_trained(resume, model, encoder)
    if content is None:
        return _State(net, optimizer)
    net.head.load_state_dict(content["head"])
    optimizer.load_state_dict(content["optimizer"])
    return _State(net, optimizer, content["step"], content["kept"])


def _save(path: Path, model: GuidedModel, encoder: noisy_encoder.Encoder, state: _State) -> None:
    head = state.net.head.state_dict()
    optimizer = state.optimizer.state_dict()
    write_trained(
        path, model, encoder, step=state.step, kept=state.heads, head=head, optimizer=optimizer
    )


def _copy_of_head(net: Discriminator) -> dict[str, Tensor]:
    # The optimizer changes the weights in place.
    return {name: tensor.clone() for name, tensor in net.head.state_dict().items()}


def _choose(
    config: GuidanceConfig,
    model: GuidedModel,
    net: Discriminator,
    heads: dict[int, dict[str, Tensor]],
    held: Sides,
) -> tuple[int, dict[int, float]]:
    """The step whose head has the least cross-entropy on held-out images, and the cross-entropy of
    all heads by images seen.
    """
    losses = {}
    for step, head in heads.items():
        net.head.load_state_dict(head)
        logits = judge(config, model, net, held, "choose")
        # softplus(-l) is the cross-entropy of a real with logit l, softplus(l) that of a fake.
        losses[step] = F.softplus(torch.cat([-logits.real, logits.fake])).mean().item()
    # NaN is below nothing and above nothing, so it is ranked last.
    best = min(losses, key=lambda step: (math.isnan(losses[step]), losses[step]))
    return best, {step * config.batch: loss for step, loss in losses.items()}


def _build(
    config: GuidanceConfig, model: GuidedModel, encoder: noisy_encoder.Encoder
) -> Discriminator:
    options = HeadOptions(config.width, config.blocks, model.net.label_dim)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(model.seed, "guide weights"))
        head = Head(feature_channels(encoder.net, model.dataset.image_shape), options)
    return Discriminator(encoder.net, head).to(model.device)


def _step(
    net: Discriminator,
    optimizer: torch.optim.Optimizer,
    real: Pairs,
    fake: Pairs,
    g: torch.Generator,
) -> None:
    counts = [len(real.images), len(fake.images)]
    sigma = draw_log_uniform_sigma(sum(counts), g).to(real.images.device)
    of_real, of_fake = sigma.split(counts)
    x = torch.cat([noisy(real, of_real), noisy(fake, of_fake)])
    labels = one_hot(torch.cat([real.labels, fake.labels]), net.label_dim, x.device)
    is_real = (torch.arange(len(x), device=x.device) < len(real.images)).float()
    loss = F.binary_cross_entropy_with_logits(net(x, sigma, labels), is_real)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
