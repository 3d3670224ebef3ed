"""The learning signal of a coupling: how noisy target and gradient are, and the loss under both pairings.

============================== ======= ================================================================================
``target_variance``            sigma   E Var(y | x, sigma) / d of the training set under independent noise: exact up to
                                       sampling, a lower bound for sets above ``CANDIDATES`` images. ``random`` alone.
``target_variance_bound``      sigma   Upper bound of the same under the arm's own pairing: the denoiser's loss on
                                       training images in fresh pools, E Var + |D - E[y|x]|^2.
``target_variance_from_noise``         E Var(y | z) / d, the limit of large sigma, of the arm's own pairing: no denoiser
                                       takes part. Couplings that permute the noises of a pool.
``validation_loss_own``        sigma   E|D - y|^2 / d on held-out images, paired by the arm's coupling.
``validation_loss_independent`` sigma  The same on the same images and noises at random.
``validation_loss_edm_own``,           Both over the sigmas of training, with its weights.
``..._edm_independent``
``gradient_variance``          sigma,  tr(Sigma) of the training loss of one pair, at one sigma and over those of
                               none    training, at the weights that are measured.
``gradient_signal``                    |G|^2.
``gradient_noise_scale``               Their ratio.
============================== ======= ================================================================================

Dataset couplings pair the images they were fitted on and no others, so that they have no ``validation_loss_*own``. A
network that was not trained here has no pairing of its own, only ``validation_loss_*independent``.

Everything is computed in float32 without dropout; what it takes does not grow with the data set.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.config import RunConfig
from bench.couplers import Pairs
from bench.data import Dataset, Split, as_images
from bench.fit import fit
from bench.metrics.gradient_noise import gradient_noise
from bench.metrics.target_variance import partner_variance, posterior_variance
from bench.metrics.validation_loss import denoising_errors
from bench.pairs import PairStream, draw_pool
from bench.randomness import derive, generator
from bench.record import Measurement
from couplings import Coupling, Fitted, get
from models.augment import Augment
from models.precondition import EDMDenoiser, draw_sigma, edm_loss, loss_weight

SIGMAS = (0.02, 0.06, 0.2, 0.6, 2.0, 6.0, 20.0, 60.0)
PAIRS = 1024  # held-out pairs behind each loss
POOLS = 16  # training pools; a batch of each
BATCH = 64  # pairs taken from a pool, if it has as many
QUERIES = 512  # x behind the closed form
CANDIDATES = 2**13  # images in its posterior
SHARED = 8  # two pools have 1 / SHARED of their noises in common

Values = dict[tuple[str, float | None], float]
"""Metric and sigma to value."""


def learning_rows(config: RunConfig) -> list[Measurement]:
    """What ``learning_signal`` measures, in its order; values are blank (NaN)."""
    coupling = None if config.checkpoint else get(config.coupling)

    def rows(metric: str, n: int, split: str, sigmas: tuple[float | None, ...] = SIGMAS) -> list[Measurement]:
        return [Measurement(metric, math.nan, split=split, n=n, sigma=sigma) for sigma in sigmas]

    pairings = ("own", "independent") if coupling is not None and coupling.kind == "batch" else ("independent",)
    found = [row for p in pairings for row in rows(f"validation_loss_{p}", PAIRS, "test")]
    found += [row for p in pairings for row in rows(f"validation_loss_edm_{p}", PAIRS, "test", (None,))]
    if coupling is None:
        return found
    n = POOLS * _batch(config)
    found += rows("target_variance_bound", n, "train") + rows("gradient_variance", n, "train", (*SIGMAS, None))
    found += rows("gradient_signal", n, "train", (None,)) + rows("gradient_noise_scale", n, "train", (None,))
    # Beside labels or augmentation the posterior is another one.
    if coupling.name == "random" and not config.training.conditional and not config.training.augment:
        found += rows("target_variance", QUERIES, "train")
    if coupling.kind == "batch" and coupling.permutes and not config.training.conditional:
        found += rows("target_variance_from_noise", math.prod(_sharing(config)), "train", (None,))
    return found


def own_coupling(config: RunConfig, dataset: Dataset, cache: Path, device: str) -> Coupling | Fitted | None:
    """The arm's coupling, fitted or from its file in ``cache``; None for a network that was not trained here.

    A coupling that learned while training takes over its state from the checkpoint by ``load_state_dict``.

    Raises:
        CouplingError: as ``bench.fit.fit``.

    """
    if config.checkpoint:
        return None
    coupling = get(config.coupling)
    return coupling if coupling.kind == "batch" else fit(coupling, dataset, config.seed, cache, device)


def learning_signal(
    config: RunConfig, net: EDMDenoiser, dataset: Dataset, device: str, coupling: Coupling | Fitted | None
) -> list[Measurement]:
    """Measure all ``learning_rows``; images, noises and sigmas are those of every arm of the same seed and pool.

    Args:
        config: of the run.
        net: the trained denoiser, on ``device``; its weights are left alone.
        dataset: of the run.
        device: where to compute.
        coupling: that of ``own_coupling``; one that learns is left changed.

    Raises:
        CouplingError: a pool cannot be solved.

    """
    net, rows = net.eval(), learning_rows(config)
    wanted = {row.metric for row in rows}
    train, test = dataset.train.to(device), dataset.test.to(device)
    found = _losses(config, net, test, get("random"), "independent")
    if "validation_loss_own" in wanted:
        found |= _losses(config, net, test, coupling, "own")
    if "target_variance_bound" in wanted:
        found |= _training(config, net, train, coupling)
    if "target_variance" in wanted:
        found |= _independent_target(config, train)
    if "target_variance_from_noise" in wanted:
        found["target_variance_from_noise", None] = _from_noise(config, train, coupling)
    return [replace(row, value=found[row.metric, row.sigma]) for row in rows]


def _losses(config: RunConfig, net: EDMDenoiser, test: Split, coupling: Coupling, pairing: str) -> Values:
    """The losses on held-out images, at single sigmas and as in training."""
    training = config.training
    share = min(BATCH, training.pool, len(test))
    pools = list(_batches(test, coupling, min(training.pool, len(test)), _seed(config, "test"), share, PAIRS))
    pairs = _joined(pools)[:PAIRS]

    def errors(sigma: Tensor) -> Tensor:
        return denoising_errors(net, pairs.images, pairs.noise, sigma, _one_hot(net, pairs))  # [n]

    found = {(f"validation_loss_{pairing}", sigma): errors(_levels(sigma, pairs)).mean().item() for sigma in SIGMAS}
    g = generator(config.seed, "learning/test/sigma")
    sigma = draw_sigma(PAIRS, g, training.P_mean, training.P_std, str(pairs.images.device))
    found[f"validation_loss_edm_{pairing}", None] = (loss_weight(sigma) * errors(sigma)).mean().item()
    return found


def _training(config: RunConfig, net: EDMDenoiser, train: Split, coupling: Coupling | Fitted) -> Values:
    """Losses and gradients on training images, each batch from a pool of its own, drawn anew."""
    training, batch = config.training, _batch(config)
    augment = Augment(training.augment) if training.augment else None
    pairs = list(_batches(train, coupling, training.pool, _seed(config, "train"), batch, POOLS * batch, augment))
    net, losses, found = copy.deepcopy(net).requires_grad_(True), [], {}

    def gradients(sigmas: list[Tensor]) -> Iterator[Tensor]:
        losses.clear()
        for part, sigma in zip(pairs, sigmas, strict=True):
            loss = edm_loss(net, part.images, part.noise, sigma, _one_hot(net, part), part.augment_labels)
            losses.append(loss.item())
            grads = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True, materialize_grads=True)
            yield torch.cat([grad.flatten() for grad in grads])

    for sigma in SIGMAS:
        noise = gradient_noise(gradients([_levels(sigma, part) for part in pairs]), batch)
        found["gradient_variance", sigma] = noise.variance
        weight = loss_weight(torch.tensor(sigma, dtype=torch.float64)).item()
        found["target_variance_bound", sigma] = sum(losses) / POOLS / weight / train.images[0].numel()
    g, device = generator(config.seed, "learning/train/sigma"), str(train.images.device)
    drawn = draw_sigma(POOLS * batch, g, training.P_mean, training.P_std, device).split(batch)
    noise = gradient_noise(gradients(list(drawn)), batch)
    found["gradient_variance", None] = noise.variance
    return found | {("gradient_signal", None): noise.signal, ("gradient_noise_scale", None): noise.scale}


def _independent_target(config: RunConfig, train: Split) -> Values:
    """The variance of the target under independent noise, over (a random part of) the training images."""
    g = generator(config.seed, "learning/posterior")
    device = train.images.device
    chosen = torch.randperm(len(train), generator=g)[:CANDIDATES].to(device)
    candidates = as_images(train.images[chosen])
    rows = torch.randint(len(candidates), (QUERIES,), generator=g).to(device)
    noise = torch.randn(QUERIES, *candidates.shape[1:], generator=g).to(device)
    values = posterior_variance(candidates, rows, noise, SIGMAS)
    return {("target_variance", sigma): value for sigma, value in zip(SIGMAS, values, strict=True)}


def _from_noise(config: RunConfig, train: Split, coupling: Coupling) -> float:
    """The variance of the image given its noise: pairs of pools with other images and some noises in common."""
    times, shared = _sharing(config)
    pool, augment = config.training.pool, config.training.augment
    partners: tuple[list[Tensor], list[Tensor]] = ([], [])
    for number in range(times):
        common = draw_pool(train, shared, _seed(config, "shared"), 0, number).pairs.noise
        for which, found in enumerate(partners):
            seed = _seed(config, f"shared/{which}")
            pairs = draw_pool(train, pool, seed, 0, number).pairs
            images, noise = pairs.images, torch.cat([common, pairs.noise[shared:]])
            if augment:
                images = Augment(augment)(images, generator(seed, "augment", step=number)).images
            index = coupling.pair(images, noise, pairs.labels, generator(seed, "coupling", step=number)).index
            found.append(images[index.argsort()[:shared]])  # the image of each common noise
    return partner_variance(*map(torch.cat, partners))


def _batches(
    split: Split,
    coupling: Coupling | Fitted,
    pool: int,
    seed: int,
    share: int,
    pairs: int,
    augment: Augment | None = None,
) -> Iterator[Pairs]:
    """As many pairs or a few more, ``share`` from each of as many pools as that takes."""
    pools = -(-pairs // share)
    stream = PairStream(split, coupling, pool=pool, batch=pool, seed=seed, stop_step=pools, augment=augment)
    with stream:
        for coupled in stream:
            yield coupled[:share]


def _joined(parts: list[Pairs]) -> Pairs:
    return Pairs(*(torch.cat([getattr(part, name) for part in parts]) for name in ("images", "noise", "labels")))


def _one_hot(net: EDMDenoiser, pairs: Pairs) -> Tensor | None:
    return F.one_hot(pairs.labels, net.label_dim).float() if net.label_dim else None


def _levels(sigma: float, pairs: Pairs) -> Tensor:
    return torch.full((len(pairs.images),), sigma, device=pairs.images.device)


def _batch(config: RunConfig) -> int:
    return min(BATCH, config.training.pool)


def _sharing(config: RunConfig) -> tuple[int, int]:
    """How many pairs of pools, and how many noises each pair has in common."""
    shared = max(1, config.training.pool // SHARED)
    return min(POOLS, max(2, -(-QUERIES // shared))), shared


def _seed(config: RunConfig, purpose: str) -> int:
    """Streams apart from those of training: its noises were learned from."""
    return derive(config.seed, f"learning/{purpose}")
