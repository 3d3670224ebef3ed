"""The learning signal of a coupling: how noisy target and gradient are, and the loss under both
pairings.

On training images, in pools drawn apart from those of training (though ``cached`` has no noises but
its own):

- ``target_variance`` by sigma: E Var(y | x, sigma) / d under independent noise, for ``random``
  alone; a lower bound where the set has more than ``CANDIDATES`` images.
- ``target_variance_bound`` by sigma: an upper bound of it under the arm's own pairing, the
  denoiser's loss there.
- ``target_variance_from_noise``: E Var(y | z) / d under the arm's own pairing, the limit of large
  sigma, without a denoiser; for couplings that permute the noises of a pool.
- ``gradient_variance`` by sigma and, with none, over the sigmas of training: tr(Sigma) of the
  training loss of a pair.
- ``gradient_signal`` and ``gradient_noise_scale``: |G|^2 over the sigmas of training, and their
  ratio.

On held-out images, the same for all couplings with the same seed and pool:

- ``validation_loss_own`` and ``validation_loss_independent`` by sigma: E|D - y|^2 / d under the two
  pairings, of the same images in the same pools; as large as those of training, or as the split
  where that is smaller.
- ``validation_loss_edm_own`` and ``validation_loss_edm_independent``: over the sigmas of training,
  with its weights.

Dataset couplings pair the images they were fitted on and no others, so they have no ``own`` on
held-out ones. A network that was not trained here has no pairing of its own: of it only the
``independent`` ones are measured. All is computed in float32 at the weights that are sampled from,
without dropout, and takes no longer for a larger data set.
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
from bench.data import Dataset, Split, as_images
from bench.metrics.gradient_noise import gradient_noise
from bench.metrics.target_variance import partner_variance, posterior_variance
from bench.metrics.validation_loss import denoising_errors
from bench.pairs.fit import fit
from bench.pairs.pool import Pairs, draw_pool
from bench.pairs.stream import PairStream
from bench.process.defaults import plain_torch
from bench.randomness import derive, generator
from bench.record import Measurement
from couplings import Coupling, Fitted, get
from models.augment import Augment
from models.objectives.edm import EDMDenoiser, draw_sigma, edm_loss, loss_weight

SIGMAS = (0.02, 0.06, 0.2, 0.6, 2.0, 6.0, 20.0, 60.0)
PAIRS = 512  # held-out pairs behind each loss, from as many pools as SHARE asks for
SHARE = 64  # held-out pairs taken from one pool
POOLS = 16  # training pools, and so gradients: one batch from each
BATCH, LEVEL_BATCH = 128, 16  # pairs of a batch over the sigmas of training, and at a single one
PART = 64  # pairs whose gradient is computed at a time
QUERIES = 512  # x behind the closed form, and at least as many shared noises
CANDIDATES = 2**13  # images in the posterior of the closed form
SHARED = 16  # two pools have 1 / SHARED of their noises in common

Values = dict[tuple[str, float | None], float]
"""Metric and sigma to value."""


def learning_rows(config: RunConfig) -> list[Measurement]:
    """What ``learning_signal`` measures, in its order; values are blank (NaN)."""
    coupling = None if config.checkpoint else get(config.coupling)

    def rows(
        metric: str, n: int, split: str, sigmas: tuple[float | None, ...] = SIGMAS
    ) -> list[Measurement]:
        return [Measurement(metric, math.nan, split=split, n=n, sigma=sigma) for sigma in sigmas]

    pairings = (
        ("own", "independent")
        if coupling is not None and coupling.kind == "batch"
        else ("independent",)
    )
    found = [row for p in pairings for row in rows(f"validation_loss_{p}", PAIRS, "test")]
    found += [
        row for p in pairings for row in rows(f"validation_loss_edm_{p}", PAIRS, "test", (None,))
    ]
    if coupling is None:
        return found
    batch, level_batch = _batches(config)
    for metric in ("target_variance_bound", "gradient_variance"):
        found += rows(metric, POOLS * level_batch, "train")
    for metric in ("gradient_variance", "gradient_signal", "gradient_noise_scale"):
        found += rows(metric, POOLS * batch, "train", (None,))
    # Beside labels or augmentation the posterior is another one.
    if (
        coupling.name == "random"
        and not config.training.conditional
        and not config.training.augment
    ):
        found += rows("target_variance", QUERIES, "train")
    if coupling.kind == "batch" and coupling.permutes and not config.training.conditional:
        found += rows("target_variance_from_noise", math.prod(_sharing(config)), "train", (None,))
    return found


def own_coupling(
    config: RunConfig, dataset: Dataset, cache: Path, device: str
) -> Coupling | Fitted | None:
    """The arm's coupling, fitted or from its file in ``cache``; None for a network that was not
    trained here.

    A coupling that learned while training takes over its state from the checkpoint by
    ``load_state_dict``.

    Raises:
        CouplingError: as ``bench.pairs.fit.fit``.

    """
    if config.checkpoint:
        return None
    coupling = get(config.coupling)
    return (
        coupling if coupling.kind == "batch" else fit(coupling, dataset, config.seed, cache, device)
    )


@plain_torch()
def learning_signal(
    config: RunConfig,
    net: EDMDenoiser,
    dataset: Dataset,
    device: str,
    coupling: Coupling | Fitted | None,
) -> list[Measurement]:
    """Measure all ``learning_rows``; images, noises and sigmas are those of every arm of the same
    seed and pool.

    Args: config: of the run. net: the trained denoiser, on ``device``; its weights are left alone.
        dataset: of the run. device: where to compute. coupling: that of ``own_coupling``. One that
        learns goes on learning, so give it a state of its own.

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


def _losses(
    config: RunConfig, net: EDMDenoiser, test: Split, coupling: Coupling, pairing: str
) -> Values:
    """The losses on held-out images, at single sigmas and as in training."""
    training = config.training
    pool = min(training.pool, len(test))
    share = min(SHARE, pool)
    pairs = _joined(
        list(_from_pools(test, coupling, pool, share, -(-PAIRS // share), _seed(config, "test")))
    )[:PAIRS]

    def errors(sigma: Tensor) -> Tensor:
        return denoising_errors(net, pairs.images, pairs.noise, sigma, _one_hot(net, pairs))  # [n]

    found = {
        (f"validation_loss_{pairing}", sigma): errors(_level(sigma, pairs)).mean().item()
        for sigma in SIGMAS
    }
    g = generator(config.seed, "learning/test/sigma")
    sigma = draw_sigma(PAIRS, g, training.P_mean, training.P_std, str(pairs.images.device))
    found[f"validation_loss_edm_{pairing}", None] = (
        (loss_weight(sigma, net.sigma_data) * errors(sigma)).mean().item()
    )
    return found


def _training(
    config: RunConfig, net: EDMDenoiser, train: Split, coupling: Coupling | Fitted
) -> Values:
    """Losses and gradients on training images: one batch from each of some pools that training
    never saw.
    """
    training, found = config.training, {}
    batch, level_batch = _batches(config)
    augment = Augment(training.augment) if training.augment else None
    batches = list(
        _from_pools(train, coupling, training.pool, batch, POOLS, _seed(config, "train"), augment)
    )
    net = copy.deepcopy(net).requires_grad_(True)
    for sigma in SIGMAS:
        losses: list[float] = []
        steps = [(part[:level_batch], _level(sigma, part)[:level_batch]) for part in batches]
        found["gradient_variance", sigma] = gradient_noise(
            _gradients(net, steps, losses), level_batch
        ).variance
        weight = loss_weight(torch.tensor(sigma, dtype=torch.float64), net.sigma_data).item()
        found["target_variance_bound", sigma] = (
            sum(losses) / POOLS / weight / train.images[0].numel()
        )
    g = generator(config.seed, "learning/train/sigma")
    sigmas = draw_sigma(
        POOLS * batch, g, training.P_mean, training.P_std, str(train.images.device)
    ).split(batch)
    noise = gradient_noise(_gradients(net, list(zip(batches, sigmas, strict=True)), []), batch)
    found["gradient_variance", None] = noise.variance
    return found | {
        ("gradient_signal", None): noise.signal,
        ("gradient_noise_scale", None): noise.scale,
    }


def _gradients(
    net: EDMDenoiser, steps: list[tuple[Pairs, Tensor]], losses: list[float]
) -> Iterator[Tensor]:
    """The gradient ``[p]`` of the training loss of each batch and its sigmas; the losses are
    appended to ``losses``.
    """
    weights = list(net.parameters())
    for pairs, sigma in steps:
        gradient, loss, n = (
            torch.zeros(sum(w.numel() for w in weights), device=sigma.device),
            0.0,
            len(sigma),
        )
        for first in range(0, n, PART):
            part, levels = pairs[first : first + PART], sigma[first : first + PART]
            labels = _one_hot(net, part)
            mean = edm_loss(
                net, part.images, part.noise, levels, labels, part.augment_labels, net.sigma_data
            )
            share = mean * (len(levels) / n)
            grads = torch.autograd.grad(share, weights, allow_unused=True, materialize_grads=True)
            gradient += torch.cat([grad.flatten() for grad in grads])
            loss += share.item()
        losses.append(loss)
        yield gradient


def _independent_target(config: RunConfig, train: Split) -> Values:
    """The variance of the target under independent noise, over (a random part of) the training
    images.
    """
    g = generator(config.seed, "learning/posterior")
    device = train.images.device
    chosen = torch.randperm(len(train), generator=g)[:CANDIDATES].to(device)
    candidates = as_images(train.images[chosen])
    rows = torch.randint(len(candidates), (QUERIES,), generator=g).to(device)
    noise = torch.randn(QUERIES, *candidates.shape[1:], generator=g).to(device)
    values = posterior_variance(candidates, rows, noise, SIGMAS)
    return {("target_variance", sigma): value for sigma, value in zip(SIGMAS, values, strict=True)}


def _from_noise(config: RunConfig, train: Split, coupling: Coupling) -> float:
    """The variance of the image given its noise: pairs of pools with other images and some noises
    in common.
    """
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
            index = coupling.pair(
                images, noise, pairs.labels, generator(seed, "coupling", step=number)
            ).index
            found.append(images[index.argsort()[:shared]])  # the image of each common noise
    return partner_variance(*map(torch.cat, partners))


def _from_pools(
    split: Split,
    coupling: Coupling | Fitted,
    pool: int,
    share: int,
    pools: int,
    seed: int,
    augment: Augment | None = None,
) -> Iterator[Pairs]:
    """The first ``share`` pairs of each of some pools, as the trainer draws and couples them."""
    with PairStream(
        split, coupling, pool=pool, batch=pool, seed=seed, stop_step=pools, augment=augment
    ) as stream:
        for coupled in stream:
            yield coupled[:share]


def _joined(parts: list[Pairs]) -> Pairs:
    return Pairs(
        *(
            torch.cat([getattr(part, name) for part in parts])
            for name in ("images", "noise", "labels")
        )
    )


def _one_hot(net: EDMDenoiser, pairs: Pairs) -> Tensor | None:
    return F.one_hot(pairs.labels, net.label_dim).float() if net.label_dim else None


def _level(sigma: float, pairs: Pairs) -> Tensor:
    return torch.full((len(pairs.images),), sigma, device=pairs.images.device)


def _batches(config: RunConfig) -> tuple[int, int]:
    """Pairs of a batch over the sigmas of training, and of one at a single sigma."""
    batch = min(BATCH, config.training.pool)
    return batch, min(LEVEL_BATCH, batch)


def _sharing(config: RunConfig) -> tuple[int, int]:
    """How many pairs of pools, and how many noises each pair has in common."""
    shared = max(1, config.training.pool // SHARED)
    return min(POOLS, max(2, -(-QUERIES // shared))), shared


def _seed(config: RunConfig, purpose: str) -> int:
    """Streams apart from those of training: its noises were learned from."""
    return derive(config.seed, f"learning/{purpose}")
