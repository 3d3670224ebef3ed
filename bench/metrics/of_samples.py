"""What generated samples are worth beside real ones: the metrics of samples in one kind of
features.

Frechet distances and class shares rest on all samples. What compares samples one by one rests on
the first ``SOME`` of them and on as many real images at most, so that neither time nor memory grows
with the number of samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from bench.data import Dataset
from bench.features import Features
from bench.metrics._moments import Moments
from bench.metrics._reference import Reference, extract, moments
from bench.metrics.classes import UNKNOWN, class_agreement, class_distance
from bench.metrics.copies import copy_distance, copy_rate, nearest
from bench.metrics.fd_infinity import fd_infinity, sizes
from bench.metrics.frechet import frechet_distance
from bench.metrics.kid import kid
from bench.metrics.mode_mixture import mixture_scan
from bench.metrics.prdc import K, prdc
from bench.randomness import generator

SOME = 2000
SPLITS = ("train", "test")
FID = ("inception", 2048)  # the features whose Frechet distance is called FID: their name and size
# And the number of images, no more and no fewer, for the distance depends on it
FID_IMAGES = 50_000
FOUR = ("precision", "recall", "density", "coverage")

Values = dict[tuple[str, str | None], float]
"""Metric and split to value."""


@dataclass(frozen=True)
class Ruler:
    """The metrics of samples in one kind of features of one data set; what real images say is found
    once.

    Where the extractor is slow it is kept in ``cache``, for other runs with the same data.
    """

    features: Features
    dataset: Dataset
    device: str
    cache: Path | None = None

    def names(self, n: int, conditional: bool) -> list[tuple[str, str | None, int]]:
        """Metric, split and number of samples behind it, of all that ``measure`` finds in ``n``
        samples.
        """
        some, name = min(n, SOME), self.features.name
        found = [
            (metric, split, count)
            for metric, count in self.frechet_names(n).items()
            for split in SPLITS
        ]
        if self._extrapolated(n):
            found += [(f"fd_infinity_{name}", split, n) for split in SPLITS]
        if self._has_neighbours(n):
            found += [
                (f"{metric}_{name}", split, some) for metric in ("kid", *FOUR) for split in SPLITS
            ]
        found += [(f"{metric}_{name}", "train", some) for metric in ("copy_rate", "copy_distance")]
        if self.features.classify:
            found += [(f"class_distance_{name}", split, n) for split in SPLITS]
        if self.features.classify and conditional:
            found.append((f"class_agreement_{name}", None, n))
        return found

    def measure(self, images: Iterable[Tensor], n: int, asked: Tensor | None = None) -> Values:
        """All metrics of ``n`` generated images, given in chunks ``[., c, h, w]`` as the data set
        stores them.

        ``asked``: the classes ``[n]`` asked for, where the denoiser is told them.
        """
        total, stops, distances, some, classes = (
            None,
            self._stops(n),
            {split: {} for split in SPLITS},
            [],
            [],
        )
        for part in _cut(extract(images, self.features, self.device), stops):
            total = Moments.of(part) if total is None else total + Moments.of(part)
            if total.count - len(part) < SOME:
                some.append(part)
            if self.features.classify:
                finite = part.isfinite().all(1)
                classes.append(torch.where(finite, self.features.classify(part), UNKNOWN))
            if total.count in stops:
                for split in SPLITS:
                    distances[split][total.count] = _quiet_frechet(total, self._real[split].moments)
        some = torch.cat(some)[:SOME]
        found = self._frechet(distances, n) | self._copies(some)
        if self._has_neighbours(n):
            found |= self._neighbours(some)
        if classes:
            found |= self._class_metrics(torch.cat(classes), asked)
        return found

    def frechet(self, images: Iterable[Tensor], n: int, split: str) -> float:
        """The Frechet distance of ``n`` generated images, given as for ``measure``, to one split,
        and nothing else.

        Raises:
            ValueError: there are more or fewer images.

        """
        found = moments(extract(images, self.features, self.device))
        if found.count != n:
            raise ValueError(f"{found.count} images where {n} were announced")
        return _quiet_frechet(found, self._real[split].moments)

    @torch.no_grad()
    def mixture(self, images: Tensor | Iterable[Tensor]) -> dict[float, float]:
        """Share of stored images, given as for ``measure``, that two classes claim, by the
        threshold of a claim.
        """
        parts = extract(images, self.features, self.device)
        return mixture_scan(torch.cat([self.features.probabilities(part) for part in parts]))

    def frechet_names(self, n: int) -> dict[str, int]:
        """Frechet distances of ``n`` samples and the number behind each: FID is that of the first
        50,000 alone.
        """
        fid = (
            {"fid": FID_IMAGES}
            if (self.features.name, self.features.size) == FID and n >= FID_IMAGES
            else {}
        )
        return fid if n in fid.values() else {**fid, f"fd_{self.features.name}": n}

    def _extrapolated(self, n: int) -> list[int]:
        """Numbers of samples to extrapolate from, where that is sound and quick.

        A quarter of the samples must make a covariance of full rank; in pixels each distance would
        cost seconds.
        """
        return sizes(n) if n // 4 > self.features.size and not self._pixels_of_pictures else []

    def _stops(self, n: int) -> list[int]:
        """Numbers of samples whose Frechet distance is taken."""
        return sorted({*self._extrapolated(n), *self.frechet_names(n).values()})

    def _has_neighbours(self, n: int) -> bool:
        return (
            min(n, len(self.dataset.train), len(self.dataset.test)) > K
            and not self._pixels_of_pictures
        )

    @property
    def _pixels_of_pictures(self) -> bool:
        """Neighbours and kernels there say which images are equally bright, hardly which are alike."""
        return self.features.name == "pixels" and self.dataset.bounded

    def _frechet(self, distances: dict[str, dict[int, float]], n: int) -> Values:
        found: Values = {}
        for split, of_split in distances.items():
            found |= {
                (metric, split): of_split[count] for metric, count in self.frechet_names(n).items()
            }
            if stops := self._extrapolated(n):
                line = fd_infinity({count: of_split[count] for count in stops})
                found[f"fd_infinity_{self.features.name}", split] = line
        return found

    def _neighbours(self, some: Tensor) -> Values:
        """The same subsets and real images for every arm and seed: the ruler adds no noise to a
        comparison.
        """
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
            (f"class_distance_{name}", s): class_distance(classes, c, known)
            for s, c in self._classes.items()
        }
        return (
            found
            if asked is None
            else found | {(f"class_agreement_{name}", None): class_agreement(classes, asked)}
        )

    def _to_training(self, some: Tensor) -> Tensor:
        """Distance ``[n]`` of features ``[n, d]`` to the nearest of all training images."""
        return nearest(some.to(self.device), self._real["train"].parts()).cpu()

    @cached_property
    def _real(self) -> dict[str, Reference]:
        return {
            split: Reference(self.features, self.dataset, split, self.device, self.cache)
            for split in SPLITS
        }

    @cached_property
    def _some(self) -> dict[str, Tensor]:
        """Features of some real images of each split, drawn at random: files are often sorted by
        class.
        """
        found = {}
        for split, real in self._real.items():
            rows = torch.randperm(
                len(getattr(self.dataset, split)), generator=generator(0, f"metrics {split}")
            )
            found[split] = real.rows(rows[:SOME])
        return found

    @cached_property
    def _held_out(self) -> Tensor:
        """Distance ``[m]`` of some held-out images to the nearest training image."""
        return self._to_training(self._some["test"])

    @cached_property
    def _classes(self) -> dict[str, Tensor]:
        """What the real images of each split are taken for."""
        return {
            s: torch.cat([self.features.classify(x) for x in real.parts()])
            for s, real in self._real.items()
        }


def _cut(chunks: Iterable[Tensor], stops: Sequence[int]) -> Iterator[Tensor]:
    """The same rows in the same order, cut also where their count reaches a stop."""
    start = 0
    for chunk in chunks:
        yield from chunk.tensor_split(
            [stop - start for stop in stops if start < stop < start + len(chunk)]
        )
        start += len(chunk)


def _quiet_frechet(a: Moments, b: Moments) -> float:
    """The distance without its warning on rank: ``rank_warnings`` says it once for a whole run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return frechet_distance(a, b)
