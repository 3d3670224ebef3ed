"""Cost and prior mismatch of a start."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.data import Dataset, as_images
from bench.metrics.prior_error import LARGEST, mass_error, transport
from bench.randomness import generator
from bench.record import Measurement
from bench.sampling.setting import Setting
from bench.sampling.starts import Ready, _tau, find_targets, streams
from models.starts.random_index import RandomIndex

DRAWS = 400  # latents for each target, behind the masses of a hard map's cells
CHUNK = 10_000  # of those at a time
POINTS = 2000  # on each side of an exact transport


def prior_errors(ready: Ready, dataset: Dataset, seed: int, n: int = POINTS) -> dict[str, float]:
    """How far the points where sampling begins are from where they should be, as squared W2 by
    exact transport.

    ``prior_error``: to the start's own targets, by the masses of its cells where it takes them
    whole; of starts without targets to noised training images, those of `random-index`.
    ``prior_error_fresh``: from ``n`` points to as many freshly noised training images, and
    ``prior_error_floor``: from such images to others.

    The masses are those of ``DRAWS`` latents a target and so never quite alike: see them for
    `random-index` too, where nothing but that is left. Labels are drawn as often as the targets
    have them.
    """
    start, sigma = ready.start, ready.start.sigma
    points = _points(ready, dataset, seed, n)
    fresh, others = (
        _noised(as_images(dataset.train.images), sigma, n, seed, f"prior {part}") for part in (1, 2)
    )
    found = {
        "prior_error_fresh": transport(points, fresh),
        "prior_error_floor": transport(fresh, others),
    }
    targets = ready.targets or find_targets(RandomIndex(sigma=sigma), dataset, seed)
    by_mass = (
        isinstance(ready.plan, RandomIndex) and not _tau(ready.plan) and len(targets) <= LARGEST
    )
    if by_mass:
        return {"prior_error": mass_error(_masses(ready, seed), targets.images.flatten(1)), **found}
    rows = torch.randperm(len(targets), generator=generator(seed, "prior targets"))[:LARGEST]
    measure = targets.images[rows]
    if start.fresh:
        measure = _noised(measure, sigma, n, seed, "prior 3")
    return {"prior_error": transport(points, measure), **found}


def _points(ready: Ready, dataset: Dataset, seed: int, n: int) -> Tensor:
    """Points ``[n, ...]`` where sampling begins, on the CPU."""
    g = generator(seed, "prior latents")
    noise = torch.randn(n, *dataset.image_shape, generator=g)
    labels = (ready.targets or dataset.train).labels
    labels = labels[torch.randint(len(labels), (n,), generator=g)]
    start = ready.start
    return (
        start.sigma
        * start.latents(noise, streams(seed, range(n)) if start.map else (), labels).cpu()
    )


def _masses(ready: Ready, seed: int) -> Tensor:
    """How often each target comes, ``[N]`` int64, in ``DRAWS`` draws for each; of no map, when
    drawn at random.
    """
    labels, n = ready.targets.labels, len(ready.targets)
    if ready.fitted is None:
        return torch.randint(n, (DRAWS * n,), generator=generator(seed, "prior masses")).bincount(
            minlength=n
        )
    counts = torch.zeros(n, dtype=torch.int64)
    for number, rows in enumerate(torch.arange(DRAWS * n).split(CHUNK)):
        g = generator(seed, "prior masses", step=number)
        noise = torch.randn(len(rows), *ready.targets.images.shape[1:], generator=g)
        counts += ready.fitted.assign(noise, labels[rows % n]).cpu().bincount(minlength=n)
    return counts


def _noised(images: Tensor, sigma: float, n: int, seed: int, purpose: str) -> Tensor:
    """Images ``[n, ...]`` drawn at random, with noise of deviation sigma."""
    g = generator(seed, purpose)
    drawn = images[torch.randint(len(images), (n,), generator=g)]
    return drawn + sigma * torch.randn(drawn.shape, generator=g)


def start_rows(ready: Ready, dataset: Dataset, seed: int) -> Iterator[Measurement]:
    """What a start costs and how good a prior it is."""
    setting = Setting(start=ready.start.spec)
    yield setting.row("start_sigma", ready.start.sigma)
    for metric, value in {**ready.costs, **prior_errors(ready, dataset, seed)}.items():
        yield setting.row(metric, value)
