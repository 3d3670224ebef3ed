"""Latents and classes of samples, found by seed, purpose and sample index."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.config import ClassLaw
from bench.data import Dataset, as_images
from bench.randomness import generator


@dataclass(frozen=True)
class Latents:
    """Noise ``[n, c, h, w]`` and labels of samples ``first``, ``first + 1``, ...

    Labels are classes ``[n]`` or conditions ``[n, k]``.
    """

    noise: Tensor
    labels: Tensor
    first: int = 0

    def __getitem__(self, rows: slice) -> Latents:
        return Latents(self.noise[rows], self.labels[rows], self.first + (rows.start or 0))

    def __len__(self) -> int:
        return len(self.noise)


EVALUATION = "latents"  # purpose of the latents that samples are measured at
SEARCH = "latents/search"  # of those that the best schedule is chosen by


def draw_latents(
    n: int,
    dataset: Dataset,
    seed: int,
    start: int = 0,
    law: ClassLaw = "data",
    purpose: str = EVALUATION,
) -> Latents:
    """Draw latents start .. start + n - 1 of a seed.

    Each has a generator of its own, so that none depends on how many are drawn at once.

    By the law ``data`` a class is as frequent as in the training split, so that a perfect denoiser
    gives the mixture of classes that samples are compared with; by ``uniform`` all classes are
    equally frequent.

    Latents of a data set with a source are its test points, in an order that the seed sets and
    without replacement; after all of them comes another order. Those of the search are its
    training points, so that no point chooses the schedule at which it is measured.

    The purpose, ``EVALUATION`` or ``SEARCH``, names the stream: two purposes share no latents.
    """
    # Drawing a row of the training labels draws a class as often as it occurs.
    if law == "data" or dataset.has_conditions:
        classes = dataset.train.labels
    else:
        classes = torch.arange(dataset.num_classes, device="cpu")
    shape = dataset.image_shape
    noise = []
    labels = []
    for index in range(start, start + n):
        # Noise first, then the class: the order is part of what a seed means.
        stream = generator(seed, purpose, step=index)
        if dataset.source is None:
            noise.append(torch.randn(shape, generator=stream, dtype=torch.float32, device="cpu"))
        labels.append(classes[torch.randint(len(classes), (), generator=stream, device="cpu")])
    if dataset.source is not None:
        split = dataset.source.train if purpose == SEARCH else dataset.source.test
        order = _source_rows(len(split), seed, purpose, start, n)
        noise = list(as_images(split.images[order]))
    return Latents(torch.stack(noise), torch.stack(labels), start)


def _source_rows(count: int, seed: int, purpose: str, start: int, n: int) -> Tensor:
    """Rows start .. start + n - 1 ``[n]`` of endless passes over ``count`` points."""
    passes = []
    first = start // count
    # The pass of a row has its own stream, so that rows do not depend on how many are drawn.
    for number in range(first, (start + n - 1) // count + 1):
        stream = generator(seed, f"{purpose}/source", step=number)
        passes.append(torch.randperm(count, generator=stream, device="cpu"))
    skipped = start - first * count
    return torch.cat(passes)[skipped : skipped + n]


def finite_rows(images: Tensor) -> Tensor:
    """Find the images ``[n, c, h, w]`` that have finite values only: ``[n]`` bool."""
    return images.flatten(1).isfinite().all(1)


def as_stored(images: Tensor, dataset: Dataset) -> Tensor:
    """Bring generated images to the form of the data set's.

    That is uint8 levels, or floats, clipped if they are pictures. Neither can represent values that
    are not finite, so note these first (``finite_rows``).
    """
    if dataset.train.images.dtype == torch.uint8:
        # 127.5 for the range [-1, 1] and another 0.5 so that truncation rounds to the nearest.
        levels = images.nan_to_num(nan=0.0) * 127.5 + 128
        return levels.clamp(0, 255).to(torch.uint8)
    return images.clamp(-1, 1) if dataset.bounded else images
