"""What generated samples are worth beside real ones: the metrics of samples in one kind of features.

Frechet distances and class shares rest on all samples. What compares samples one by one rests on the first ``SOME`` of
them and on as many real images at most, so that neither time nor memory grows with the number of samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add

import torch
from torch import Tensor

from bench.data import Dataset, as_images
from bench.features import Features
from bench.metrics.classes import class_agreement, class_distance
from bench.metrics.copies import copy_distance, copy_rate, nearest
from bench.metrics.fd_infinity import fd_infinity, sizes
from bench.metrics.frechet import Moments, frechet_distance
from bench.metrics.kid import kid
from bench.metrics.prdc import K, prdc
from bench.randomness import generator

CHUNK = 500  # images whose features are taken at a time
SOME = 2000
SPLITS = ("train", "test")
HELD = 2**26  # numbers: features of a split are kept up to 256 MiB, and taken anew each time beyond
FOUR = ("precision", "recall", "density", "coverage")

Values = dict[tuple[str, str | None], float]
"""Metric and split to value."""


@torch.no_grad()
def extract(images: Tensor | Iterable[Tensor], features: Features, device: str) -> Iterator[Tensor]:
    """Features ``[., d]`` on the CPU of stored images ``[n, c, h, w]``, given whole or in chunks of them."""
    for chunk in images.split(CHUNK) if isinstance(images, Tensor) else images:
        yield features.extract(as_images(chunk).to(device)).cpu()


def moments(parts: Iterable[Tensor]) -> Moments:
    """Moments of features, given in parts ``[., d]``."""
    return reduce(add, map(Moments.of, parts))


@dataclass(frozen=True)
class Ruler:
    """The metrics of samples in one kind of features of one data set; what real images say is found once."""

    features: Features
    dataset: Dataset
    device: str

    def names(self, n: int, conditional: bool) -> list[tuple[str, str | None, int]]:
        """Metric, split and number of samples behind it, of all that ``measure`` finds in ``n`` samples."""
        some, name = min(n, SOME), self.features.name
        found = [(f"fd_{name}", split, n) for split in SPLITS]
        if len(self._stops(n)) > 1:
            found += [(f"fd_infinity_{name}", split, n) for split in SPLITS]
        if self._has_neighbours(n):
            found += [(f"{metric}_{name}", split, some) for metric in ("kid", *FOUR) for split in SPLITS]
        found += [(f"{metric}_{name}", "train", some) for metric in ("copy_rate", "copy_distance")]
        if self.features.classify:
            found += [(f"class_distance_{name}", split, n) for split in SPLITS]
        if self.features.classify and conditional:
            found.append((f"class_agreement_{name}", None, n))
        return found

    def measure(self, images: Iterable[Tensor], n: int, asked: Tensor | None = None) -> Values:
        """All metrics of ``n`` generated images, given in chunks ``[., c, h, w]`` as the data set stores them.

        ``asked``: the classes ``[n]`` asked for, where the denoiser is told them.
        """
        total, stops, distances, some, classes = None, self._stops(n), {split: {} for split in SPLITS}, [], []
        for part in _cut(extract(images, self.features, self.device), stops):
            total = Moments.of(part) if total is None else total + Moments.of(part)
            if total.count - len(part) < SOME:
                some.append(part)
            if self.features.classify:
                classes.append(self.features.classify(part))
            if total.count in stops:
                for split in SPLITS:
                    distances[split][total.count] = _quiet_frechet(total, self._moments[split])
        some = torch.cat(some)[:SOME]
        found = self._frechet(distances, n) | self._copies(some)
        if self._has_neighbours(n):
            found |= self._neighbours(some)
        if classes:
            found |= self._class_metrics(torch.cat(classes), asked)
        return found

    def frechet(self, images: Iterable[Tensor], n: int, split: str) -> float:
        """Frechet distance of ``n`` generated images, as for ``measure``, to one split, and nothing else."""
        return _quiet_frechet(moments(extract(images, self.features, self.device)), self._moments[split])

    def _stops(self, n: int) -> list[int]:
        """Numbers of samples whose Frechet distance is taken: several, to extrapolate, where that is sound and quick.

        A quarter of the samples must make a covariance of full rank; in pixels each distance would cost seconds.
        """
        return sizes(n) if n // 4 > self.features.size and not self._pixels_of_pictures else [n]

    def _has_neighbours(self, n: int) -> bool:
        return min(n, len(self.dataset.train), len(self.dataset.test)) > K and not self._pixels_of_pictures

    @property
    def _pixels_of_pictures(self) -> bool:
        """Neighbours and kernels there say which images are equally bright, hardly which are alike."""
        return self.features.name == "pixels" and self.dataset.bounded

    def _frechet(self, distances: dict[str, dict[int, float]], n: int) -> Values:
        found: Values = {(f"fd_{self.features.name}", split): of_split[n] for split, of_split in distances.items()}
        if len(self._stops(n)) > 1:
            found |= {(f"fd_infinity_{self.features.name}", s): fd_infinity(d) for s, d in distances.items()}
        return found

    def _neighbours(self, some: Tensor) -> Values:
        """The same subsets and real images for every arm and seed: the ruler adds no noise to a comparison."""
        found, name = {}, self.features.name
        for split, real in self._some.items():
            found[f"kid_{name}", split] = kid(some, real, generator(0, "kid subsets"))
            four = prdc(real, some)
            found |= {(f"{metric}_{name}", split): getattr(four, metric) for metric in FOUR}
        return found

    def _copies(self, some: Tensor) -> Values:
        distances, name = self._to_training(some), self.features.name
        return {
            (f"copy_rate_{name}", "train"): copy_rate(distances, self._held_out),
            (f"copy_distance_{name}", "train"): copy_distance(distances, self._held_out),
        }

    def _class_metrics(self, classes: Tensor, asked: Tensor | None) -> Values:
        known, name = self.dataset.num_classes, self.features.name
        found: Values = {
            (f"class_distance_{name}", s): class_distance(classes, c, known) for s, c in self._classes.items()
        }
        return found if asked is None else found | {(f"class_agreement_{name}", None): class_agreement(classes, asked)}

    def _to_training(self, some: Tensor) -> Tensor:
        """Distance ``[n]`` of features ``[n, d]`` to the nearest of all training images."""
        return nearest(some.to(self.device), self._parts("train")).cpu()

    def _parts(self, split: str) -> Iterable[Tensor]:
        """Features of all real images of a split, in chunks ``[., d]``."""
        images = getattr(self.dataset, split).images
        return self._held.get(split) or extract(images, self.features, self.device)

    @cached_property
    def _held(self) -> dict[str, list[Tensor]]:
        images = {split: getattr(self.dataset, split).images for split in SPLITS}
        small = {split: x for split, x in images.items() if len(x) * self.features.size <= HELD}
        return {split: list(extract(x, self.features, self.device)) for split, x in small.items()}

    @cached_property
    def _moments(self) -> dict[str, Moments]:
        return {split: moments(self._parts(split)) for split in SPLITS}

    @cached_property
    def _some(self) -> dict[str, Tensor]:
        """Features of some real images of each split, drawn at random: files are often sorted by class."""
        found = {}
        for split in SPLITS:
            images = getattr(self.dataset, split).images
            rows = torch.randperm(len(images), generator=generator(0, f"metrics {split}"))[:SOME]
            found[split] = torch.cat(list(extract(images[rows], self.features, self.device)))
        return found

    @cached_property
    def _held_out(self) -> Tensor:
        """Distance ``[m]`` of some held-out images to the nearest training image."""
        return self._to_training(self._some["test"])

    @cached_property
    def _classes(self) -> dict[str, Tensor]:
        """What the real images of each split are taken for."""
        return {split: torch.cat([self.features.classify(x) for x in self._parts(split)]) for split in SPLITS}


def _cut(chunks: Iterable[Tensor], stops: Sequence[int]) -> Iterator[Tensor]:
    """The same rows in the same order, cut also where their count reaches a stop."""
    start = 0
    for chunk in chunks:
        yield from chunk.tensor_split([stop - start for stop in stops if start < stop < start + len(chunk)])
        start += len(chunk)


def _quiet_frechet(a: Moments, b: Moments) -> float:
    """The distance without its warning on rank: ``rank_warning`` says it once for a whole run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return frechet_distance(a, b)
