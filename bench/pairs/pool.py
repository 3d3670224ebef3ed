"""A pool of pairs: how it is drawn, before and after it is coupled."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from bench.data import Split, as_images
from bench.randomness import generator

# A permutation of more rows than this takes longer than the rest of a pool's draw. Smaller data
# sets are permuted all the same, as the published studies were.
MOST_PERMUTED = 100_000
FEW = 8  # the least ratio of all rows to drawn ones for which few draws repeat a row
SPARE = 16  # rows drawn beyond those needed, in place of repeated ones


@dataclass(frozen=True)
class Pairs:
    """Images, the noise sample that goes with each, and labels.

    Attributes:
        images: ``[n, c, h, w]`` in [-1, 1].
        noise: of the same shape; before it is coupled standard normal, or drawn from a source.
        labels: classes ``[n]`` or conditions ``[n, k]``.
        augment_labels: ``[n, 9]``, the augmentation of each image; None without any.
        weights: ``[n]``, factors of the losses, see ``couplings.Pairing``; None for equal ones.

    """

    images: Tensor
    noise: Tensor
    labels: Tensor
    augment_labels: Tensor | None = None
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | Tensor) -> Pairs:
        labels = self.augment_labels
        weights = self.weights
        return Pairs(
            self.images[rows],
            self.noise[rows],
            self.labels[rows],
            None if labels is None else labels[rows],
            None if weights is None else weights[rows],
        )

    def joined(self, more: Pairs) -> Pairs:
        """These pairs and then ``more`` of the same kind."""
        # Nothing is left of most pools; `cat` would copy all of the next one.
        if not len(self):
            return more
        joined = {}
        for field in fields(self):
            part = getattr(self, field.name)
            if part is not None:
                joined[field.name] = torch.cat([part, getattr(more, field.name)])
        return Pairs(**joined)


@dataclass(frozen=True)
class Drawn:
    """A pool as drawn: ``rows`` ``[n]`` number its images in the training set, ``pairs`` are
    independent.
    """

    rows: Tensor
    pairs: Pairs


@dataclass(frozen=True)
class Coupled:
    """A pool as coupled.

    Attributes:
        pairs: images and the noise samples that the coupling gave them.
        report: ``seconds`` of the solver; ``cost_before`` and ``cost_after``, mean squared distance
            of a pair as drawn and as coupled; and whatever else the coupling reports.
        rows: ``[n]``, the numbers of the images in the training set, on the CPU.
        state: of a coupling that learns, after this pool; None for others.
        again: the pairing itself, of a coupling that follows the model, whose weights are no longer
            there when a resumed run needs this pool; None for others.

    """

    pairs: Pairs
    report: dict[str, float]
    rows: Tensor
    state: dict[str, Tensor] | None = None
    again: dict[str, Tensor] | None = None


def draw_pool(split: Split, pool: int, seed: int, rank: int, number: int) -> Drawn:
    """Draw pool ``number`` on the device of the split: images without replacement, unit noise.

    If the split has a source, noise samples are drawn from it as images are. A data set smaller
    than the pool is used several times. The pool depends on nothing but the arguments: all
    couplings are given the same images and noise samples, whatever came before. Those of a pool use
    all of them, if they keep both marginals; those of the training set choose images
    (``semidiscrete``) or bring noise samples of their own (``cached``, ``semidiscrete-balanced``).

    Args:
        split: images to draw from.
        pool: how many.
        seed: of the run.
        rank: of the process.
        number: of the pool, from 0.

    """
    device = split.images.device
    # Images and noise have separate streams: neither changes when the other's draw does.
    rows = _draw_rows(len(split), pool, generator(seed, "images", rank, number))
    places = rows.to(device)
    images = as_images(split.images[places])
    stream = generator(seed, "noise", rank, number)
    if split.source is not None:
        sources = _draw_rows(len(split.source), pool, stream).to(device)
        noise = as_images(split.source[sources])
        return Drawn(rows, Pairs(images, noise, split.labels[places]))
    # Threads draw pools: a context would change the default dtype of all of them.
    noise = torch.empty(
        images.shape, dtype=torch.float32, device="cpu", pin_memory=device.type == "cuda"
    )
    noise.normal_(generator=stream)
    # From pinned memory, the copy to a GPU does not wait for its kernels.
    noise = noise.to(device, non_blocking=True)
    return Drawn(rows, Pairs(images, noise, split.labels[places]))


def _draw_rows(count: int, n: int, g: torch.Generator) -> Tensor:
    """Draw n of ``count`` rows ``[n]`` on the CPU, in random order."""
    if count > MOST_PERMUTED and n <= count // FEW:
        return _draw_few(count, n, g)
    # Whole passes, so that no row occurs twice before every one has occurred once.
    rounds = -(-n // count)
    # On the CPU, whatever the default device is: draws are the same everywhere.
    passes = [torch.randperm(count, generator=g, device="cpu") for _ in range(rounds)]
    return torch.cat(passes)[:n]


def _draw_few(count: int, n: int, g: torch.Generator) -> Tensor:
    """Draw n different rows ``[n]`` of many more, without a permutation of all of them."""
    rows: dict[int, None] = {}  # keeps the order of first occurrence
    while len(rows) < n:
        # Repeated rows are dropped. What is left is as random as the start of a permutation.
        drawn = torch.randint(count, (n + SPARE,), generator=g, device="cpu")
        rows.update(dict.fromkeys(drawn.tolist()))
    return torch.tensor(list(rows)[:n], device="cpu")
