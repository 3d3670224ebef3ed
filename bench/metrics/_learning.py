"""Losses, gradients and target variances of a denoiser on pairs drawn as in training.

Values of a denoiser are computed in float32 at the weights that are sampled from, without dropout.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.config import RunConfig
from bench.data import Split, as_images
from bench.metrics._gradient_noise import GradientNoise, gradient_noise
from bench.metrics._target_variance import partner_variance, posterior_variance
from bench.metrics._validation_loss import denoising_errors
from bench.pairs.pool import Pairs, draw_pool
from bench.pairs.stream import PairStream
from bench.randomness import derive, generator
from bench.training.network import find_objective
from couplings import Coupling, Fitted
from models.augment import Augment
from models.denoiser import Denoiser

SIGMAS = (0.02, 0.06, 0.2, 0.6, 2.0, 6.0, 20.0, 60.0)


@dataclass(frozen=True)
class Effort:
    """Sizes of what is computed; they do not grow with the data set.

    Attributes:
        pairs: held-out pairs that a loss is computed from.
        share: held-out pairs taken from one pool.
        pools: training pools, and so gradients: one batch from each.
        batch: pairs of a batch over the sigmas of training.
        level_batch: pairs of a batch at a single sigma.
        part: pairs whose gradient is computed at a time.
        queries: points x of the closed form, and at least as many shared noise samples.
        candidates: images in the posterior of the closed form.
        shared: two pools have one in so many of their noise samples in common.

    """

    pairs: int = 512
    share: int = 64
    pools: int = 16
    batch: int = 128
    level_batch: int = 16
    part: int = 64
    queries: int = 512
    candidates: int = 2**13
    shared: int = 16

    def batches(self, pool: int) -> tuple[int, int]:
        """Pairs of a batch over the sigmas of training, and of one at a single sigma."""
        batch = min(self.batch, pool)
        return batch, min(self.level_batch, batch)

    def sharing(self, pool: int) -> tuple[int, int]:
        """Number of pairs of pools, and of noise samples that each pair has in common."""
        common = max(1, pool // self.shared)
        enough = -(-self.queries // common)
        return min(self.pools, max(2, enough)), common


@dataclass(frozen=True)
class OnTraining:
    """Values on training images.

    Attributes:
        bound: loss per pixel, by sigma: an upper bound of the variance of the target.
        variance: variance of the gradient of a pair, by sigma.
        noise: of the gradient over the sigmas of training.

    """

    bound: dict[float, float]
    variance: dict[float, float]
    noise: GradientNoise


def held_out_losses(
    config: RunConfig, net: Denoiser, test: Split, coupling: Coupling, effort: Effort
) -> tuple[list[float], float]:
    """Loss per pixel at each of ``SIGMAS``, and the weighted loss over the sigmas of training."""
    training = config.training
    # Larger pools give closer pairs, so pools smaller than those of training pose another task.
    pool = min(training.pool, len(test))
    # Few pairs from each of many pools, because pairs of one pool are not independent.
    share = min(effort.share, pool)
    pools = -(-effort.pairs // share)
    seed = _seed(config, "test")
    pairs = _joined(list(_from_pools(test, coupling, pool, share, pools, seed)))[: effort.pairs]
    labels = net.one_hot(pairs.labels)
    by_sigma = []
    for level in SIGMAS:
        sigma = _constant(level, pairs)
        errors = denoising_errors(net, pairs.images, pairs.noise, sigma, labels)
        by_sigma.append(errors.mean().item())
    g = generator(config.seed, "learning/test/sigma")
    device = str(pairs.images.device)
    sigma = find_objective(training).draw_sigma(effort.pairs, g, device)
    errors = denoising_errors(net, pairs.images, pairs.noise, sigma, labels)
    weighted = net.objective.weight(sigma) * errors
    return by_sigma, weighted.mean().item()


def on_training_images(
    config: RunConfig,
    net: Denoiser,
    train: Split,
    coupling: Coupling | Fitted,
    effort: Effort,
) -> OnTraining:
    """Losses and gradients of one batch from each of some pools that training never saw."""
    training = config.training
    batch, level_batch = effort.batches(training.pool)
    augment = Augment(training.augment) if training.augment else None
    seed = _seed(config, "train")
    # The same pairs at every sigma, so that a profile varies by sigma alone.
    batches = list(_from_pools(train, coupling, training.pool, batch, effort.pools, seed, augment))
    # A copy, because the weights of the caller's network may be frozen.
    net = copy.deepcopy(net).requires_grad_(True)
    pixels = train.images[0].numel()
    bound: dict[float, float] = {}
    variance: dict[float, float] = {}
    for level in SIGMAS:
        losses: list[float] = []
        steps = []
        for pairs in batches:
            steps.append((pairs[:level_batch], _constant(level, pairs)[:level_batch]))
        noise = gradient_noise(_gradients(net, steps, losses, effort.part), level_batch)
        variance[level] = noise.variance
        # The loss of training is weighted and summed over pixels.
        weight = net.objective.weight(torch.tensor(level, dtype=torch.float64)).item()
        bound[level] = sum(losses) / effort.pools / weight / pixels
    g = generator(config.seed, "learning/train/sigma")
    device = str(train.images.device)
    sigma = find_objective(training).draw_sigma(effort.pools * batch, g, device)
    steps = list(zip(batches, sigma.split(batch), strict=True))
    return OnTraining(
        bound, variance, gradient_noise(_gradients(net, steps, [], effort.part), batch)
    )


def independent_target(config: RunConfig, train: Split, effort: Effort) -> list[float]:
    """Variance of the target under independent noise at each of ``SIGMAS``, over (a random part of)
    the training images.
    """
    g = generator(config.seed, "learning/posterior")
    device = train.images.device
    # At random, because image files are often sorted by class.
    order = torch.randperm(len(train), generator=g)
    candidates = as_images(train.images[order[: effort.candidates].to(device)])
    # The noisy points come from candidates themselves: the closed form is the posterior of images
    # drawn from this very set.
    rows = torch.randint(len(candidates), (effort.queries,), generator=g).to(device)
    noise = torch.randn(effort.queries, *candidates.shape[1:], generator=g).to(device)
    return posterior_variance(candidates, rows, noise, SIGMAS)


def variance_from_noise(
    config: RunConfig, train: Split, coupling: Coupling, effort: Effort
) -> float:
    """Variance of the image given its noise, from pairs of pools with other images and some noise
    samples in common.
    """
    times, common = effort.sharing(config.training.pool)
    first = []
    second = []
    for number in range(times):
        noise = draw_pool(train, common, _seed(config, "shared"), 0, number).pairs.noise
        # Only the noise is shared: the images of the two pools and their other noise samples come
        # from separate streams.
        first.append(_partners(config, train, coupling, noise, number, which=0))
        second.append(_partners(config, train, coupling, noise, number, which=1))
    return partner_variance(torch.cat(first), torch.cat(second))


def _partners(
    config: RunConfig, train: Split, coupling: Coupling, common: Tensor, number: int, which: int
) -> Tensor:
    """The images that a pool's coupling gives to the noise samples ``common``."""
    training = config.training
    seed = _seed(config, f"shared/{which}")
    pairs = draw_pool(train, training.pool, seed, 0, number).pairs
    images = pairs.images
    noise = torch.cat([common, pairs.noise[len(common) :]])
    if training.augment:
        augment = Augment(training.augment)
        images = augment(images, generator(seed, "augment", step=number)).images
    # A stream of each pool's own: the two images of a noise sample must be independent given it.
    g = generator(seed, "coupling", step=number)
    index = coupling.pair(images, noise, pairs.labels, g).index
    # ``index`` leads from images to noise; its inverse leads back.
    return images[index.argsort()[: len(common)]]


def _gradients(
    net: Denoiser, steps: list[tuple[Pairs, Tensor]], losses: list[float], most: int
) -> Iterator[Tensor]:
    """The gradient ``[p]`` of the training loss of each batch and its sigmas; the losses are
    appended to ``losses``.
    """
    weights = list(net.parameters())
    size = sum(weight.numel() for weight in weights)
    for pairs, sigma in steps:
        gradient = torch.zeros(size, device=sigma.device)
        loss = 0.0
        # In parts: the activations of a whole batch may not fit into memory.
        for first in range(0, len(sigma), most):
            part = pairs[first : first + most]
            levels = sigma[first : first + most]
            labels = net.one_hot(part.labels)
            mean = net.objective.loss(
                net, part.images, part.noise, levels, labels, part.augment_labels
            )
            # The loss is a mean over its part, and the last part may be smaller.
            share = mean * (len(levels) / len(sigma))
            # A user's network may have weights without a part in some loss: their gradient is 0.
            grads = torch.autograd.grad(share, weights, allow_unused=True, materialize_grads=True)
            gradient += torch.cat([grad.flatten() for grad in grads])
            loss += share.item()
        losses.append(loss)
        yield gradient


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
    # One item is a whole pool, so that each share comes from another pool.
    with PairStream(
        split, coupling, pool=pool, batch=pool, seed=seed, stop_step=pools, augment=augment
    ) as stream:
        for coupled in stream:
            yield coupled[:share]


def _joined(parts: list[Pairs]) -> Pairs:
    return Pairs(
        torch.cat([part.images for part in parts]),
        torch.cat([part.noise for part in parts]),
        torch.cat([part.labels for part in parts]),
    )


def _constant(sigma: float, pairs: Pairs) -> Tensor:
    return torch.full((len(pairs.images),), sigma, device=pairs.images.device)


def _seed(config: RunConfig, purpose: str) -> int:
    """Other streams than those of training: the network has learned from its noise samples."""
    return derive(config.seed, f"learning/{purpose}")
