"""A pool of pairs: how it is drawn, before and after it is coupled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from bench.data import Split, as_images
from bench.randomness import generator


@dataclass(frozen=True)
class Pairs:
    """Images ``[n, c, h, w]`` in [-1, 1], the unit noise that goes with each, and labels ``[n]``.

    ``augment_labels`` ``[n, 9]`` say how the images were augmented; None where they were not.
    """

    images: Tensor
    noise: Tensor
    labels: Tensor
    augment_labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | Tensor) -> Pairs:
        return self._each(lambda part: part[rows])

    def joined(self, more: Pairs) -> Pairs:
        """These pairs and then ``more`` of the same kind."""
        if not len(self):
            return more
        parts = [(getattr(self, part.name), getattr(more, part.name)) for part in fields(self)]
        return Pairs(*(None if one is None else torch.cat([one, other]) for one, other in parts))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Pairs:
        parts = (self.images, self.noise, self.labels, self.augment_labels)
        return Pairs(*(None if part is None else change(part) for part in parts))


@dataclass(frozen=True)
class Drawn:
    """A pool as drawn: ``rows`` ``[n]`` are its images' places in the training set, ``pairs`` are
    independent.
    """

    rows: Tensor
    pairs: Pairs


@dataclass(frozen=True)
class Coupled:
    """A pool as coupled.

    ``report`` has ``seconds``, ``cost_before`` and ``cost_after``; ``state`` is that of a coupling
    that learns, after this pool, else None.
    """

    pairs: Pairs
    report: dict[str, float]
    state: dict[str, Tensor] | None = None


def draw_pool(split: Split, pool: int, seed: int, rank: int, number: int) -> Drawn:
    """Draw pool ``number`` on the device of the split: images without replacement, unit noise.

    A small data set comes round again. The pool depends on nothing but the arguments: all couplings
    see the same images and noises, whatever came before.
    """
    device = split.images.device
    g = generator(seed, "images", rank, number)
    rounds = -(-pool // len(split))
    rows = torch.cat(
        [torch.randperm(len(split), generator=g, device="cpu") for _ in range(rounds)]
    )[:pool]
    images = as_images(split.images[rows.to(device)])
    # Threads draw pools: a context would change the default dtype of all of them.
    noise = torch.empty(
        images.shape, dtype=torch.float32, device="cpu", pin_memory=device.type == "cuda"
    )
    noise.normal_(generator=generator(seed, "noise", rank, number))
    return Drawn(
        rows, Pairs(images, noise.to(device, non_blocking=True), split.labels[rows.to(device)])
    )
