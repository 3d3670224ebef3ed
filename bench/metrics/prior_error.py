"""Cost of a start, and how far the points where sampling begins are from where they should be."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from bench.data import Dataset, as_images
from bench.metrics._transport import LARGEST, mass_error, transport
from bench.metrics.contract import DenoiserMetric, Item, Subject
from bench.metrics.mode_mixture import ModeMixture, metric_name, mixture_of
from bench.randomness import generator
from bench.record import Measurement
from bench.record.infos import Info
from bench.sampling.setting import Setting
from bench.sampling.starts import find_targets, streams
from models.starts.contract import PreparedStart
from models.starts.random_index import RandomIndex

DRAWS = 400  # latents for each target, from which the masses of a hard map's cells are estimated
CHUNK = 10_000  # of those at a time
POINTS = 2000  # on each side of an exact transport


_of_start = partial(Info, per="run", kind="start", figure=False)


class PriorError(DenoiserMetric):
    """Every start of a run: its cost, its prior errors, and the mode mixture of real images."""

    infos = (
        _of_start(
            "prior_error",
            "Squared W2 from where sampling begins to the targets that the start is meant to hit.",
            "lower",
            title="Prior error",
            place=92,
        ),
        _of_start(
            "prior_error_fresh",
            "Squared W2 from where sampling begins to freshly noised images; a perfect"
            " start reaches prior_error_floor on average.",
            "lower",
            title="Prior error, fresh images",
            place=93,
        ),
        _of_start(
            "prior_error_floor",
            "Squared W2 between two sets of freshly noised images: the least that finite samples"
            " allow.",
            title="Prior error of real images",
            place=94,
        ),
        _of_start(
            "start_sigma",
            "Noise level where sampling begins.",
            title="Start level",
            place=90,
        ),
        _of_start(
            "start_targets",
            "Images that the start can jump to.",
            title="Start targets",
            place=91,
        ),
        _of_start(
            "start_fit_seconds",
            "Seconds to fit the start's transport map, once for all images ever sampled.",
            title="Start fit time, s",
            place=95,
        ),
        _of_start(
            "start_fit_noises",
            "Noise samples that the fit saw.",
            title="Noise samples of the start fit",
            place=96,
        ),
        _of_start(
            "start_chi2",
            "How unequal the masses of the map's cells are, mean of (N mass - 1) squared over the"
            " targets; 0 for an exact map.",
            "lower",
            place=97,
        ),
        _of_start(
            "start_whole_targets",
            "1 if the start sends each latent to exactly one of its targets, else 0.",
            ratio=False,
            place=98,
        ),
    )

    @classmethod
    def items(cls, subject: Subject) -> list[Item]:
        """One for each start."""
        items = []
        for spec in subject.methods.starts:
            items.append(Item(spec, fingerprint=subject.judge.fingerprint))
        return items

    @classmethod
    def rows(cls, subject: Subject, item: Item) -> Iterator[Measurement]:
        """Cost and prior errors, then the mode mixture that an exact sampler would have."""
        start = subject.methods.starts[item.name]
        dataset = subject.dataset
        setting = Setting(start=start.spec)
        yield setting.row("start_sigma", start.sigma)
        yield setting.row("start_whole_targets", float(start.choice.takes_whole_targets))
        for metric, value in start.costs.items():
            yield setting.row(metric, value)
        for metric, value in prior_errors(start, dataset, subject.config.seed).items():
            yield setting.row(metric, value)
        space = subject.spaces[subject.judge.name]
        images = subject.measured.test.images
        if not ModeMixture.suits(space, len(images)):
            return
        for threshold, value in mixture_of(space, images).items():
            metric = f"{metric_name(threshold, '_real')}_{subject.judge.name}"
            yield setting.row(metric, value, split="test", n=len(images))


def prior_errors(
    start: PreparedStart, dataset: Dataset, seed: int, n: int = POINTS
) -> dict[str, float]:
    """Distance from the points where sampling begins to where they should be, as a squared W2.

    ``prior_error``: to the start's own targets, by the masses of its cells where it takes them
    whole; of starts without targets to noised training images, those of `random-index`.
    ``prior_error_fresh``: from ``n`` points to as many freshly noised training images, and
    ``prior_error_floor``: from such images to others.

    The masses are estimated from ``DRAWS`` latents a target, so they are never quite alike. The
    value of `random-index`, whose masses are exactly alike, shows how much that is.
    """
    sigma = start.sigma
    points = _points(start, dataset, seed, n)
    train = as_images(dataset.train.images)
    fresh = _noised(train, sigma, n, seed, "prior 1")
    # From another stream: equal draws would have a floor of 0.
    others = _noised(train, sigma, n, seed, "prior 2")
    targets = start.targets or find_targets(RandomIndex(sigma=sigma), dataset, seed)
    # A start that takes targets whole errs by the masses of its cells only. No points are drawn, so
    # the error has no floor of finite samples.
    if start.choice.takes_whole_targets and len(targets) <= LARGEST:
        error = mass_error(_masses(start, seed), targets.images.flatten(1))
    else:
        error = transport(points, _some_targets(start, targets.images, seed, n))
    return {
        "prior_error": error,
        "prior_error_fresh": transport(points, fresh),
        "prior_error_floor": transport(fresh, others),
    }


def _some_targets(start: PreparedStart, images: Tensor, seed: int, n: int) -> Tensor:
    """As many targets as exact transport can take, noised where the noise is not frozen."""
    order = torch.randperm(len(images), generator=generator(seed, "prior targets"))
    some = images[order[:LARGEST]]
    if start.fresh:
        return _noised(some, start.sigma, n, seed, "prior 3")
    return some


def _points(start: PreparedStart, dataset: Dataset, seed: int, n: int) -> Tensor:
    """Points ``[n, ...]`` where sampling begins, on the CPU."""
    g = generator(seed, "prior latents")
    noise = torch.randn(n, *dataset.image_shape, generator=g)
    # Labels are drawn as often as the targets have them.
    known = (start.targets or dataset.train).labels
    labels = known[torch.randint(len(known), (n,), generator=g)]
    drawn = streams(seed, range(n)) if start.map else ()
    # Latents are in units of sigma, and the targets are not.
    return start.sigma * start.latents(noise, drawn, labels).cpu()


def _masses(start: PreparedStart, seed: int) -> Tensor:
    """Count of each target ``[N]`` int64 in ``DRAWS`` draws per target; without a map, targets are
    drawn at random.
    """
    labels = start.targets.labels
    n = len(labels)
    if start.fitted is None:
        # As many draws as for a map, so that chance alone gives both the same error.
        drawn = torch.randint(n, (DRAWS * n,), generator=generator(seed, "prior masses"))
        return drawn.bincount(minlength=n)
    counts = torch.zeros(n, dtype=torch.int64)
    for number, rows in enumerate(torch.arange(DRAWS * n).split(CHUNK)):
        g = generator(seed, "prior masses", step=number)
        noise = torch.randn(len(rows), *start.targets.images.shape[1:], generator=g)
        # Labels as often as the targets have them, because a map with one potential per class sends
        # a latent only to targets of its own class.
        counts += start.fitted.assign(noise, labels[rows % n]).cpu().bincount(minlength=n)
    return counts


def _noised(images: Tensor, sigma: float, n: int, seed: int, purpose: str) -> Tensor:
    """Images ``[n, ...]`` drawn at random, with noise of standard deviation sigma."""
    g = generator(seed, purpose)
    drawn = images[torch.randint(len(images), (n,), generator=g)]
    return drawn + sigma * torch.randn(drawn.shape, generator=g)
