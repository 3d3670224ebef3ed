"""Latents and classes of samples, found by seed and sample index."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.config import ClassLaw
from bench.data import Dataset
from bench.randomness import generator
from models.objectives.edm import EDMDenoiser


@dataclass(frozen=True)
class Latents:
    """Where sampling begins: unit noise ``[n, c, h, w]`` and classes ``[n]``, found by sample index
    alone.
    """

    noise: Tensor
    labels: Tensor
    first: int = 0  # index of the first

    def __getitem__(self, rows: slice) -> Latents:
        return Latents(self.noise[rows], self.labels[rows], self.first + (rows.start or 0))

    def __len__(self) -> int:
        return len(self.noise)


def draw_latents(
    n: int, dataset: Dataset, seed: int, start: int = 0, law: ClassLaw = "data"
) -> Latents:
    """Latents start .. start + n - 1 of a seed, one generator a sample: none depends on the others
    drawn with it.

    By the law ``data`` a class comes as often as the training split has it, so that a perfect
    denoiser gives the mixture of classes that samples are compared with; by ``uniform`` all come
    equally often.
    """
    known = (
        dataset.train.labels if law == "data" else torch.arange(dataset.num_classes, device="cpu")
    )
    noise, labels = [], []
    for index in range(start, start + n):
        g = generator(seed, "latents", step=index)
        noise.append(
            torch.randn(dataset.image_shape, generator=g, dtype=torch.float32, device="cpu")
        )
        labels.append(known[torch.randint(len(known), (), generator=g, device="cpu")])
    return Latents(torch.stack(noise), torch.stack(labels), start)


def one_hot(net: EDMDenoiser, latents: Latents, device: str) -> Tensor | None:
    """The classes ``[n, label_dim]`` that a conditional denoiser is told; None for any other."""
    return F.one_hot(latents.labels, net.label_dim).float().to(device) if net.label_dim else None


def finite_rows(images: Tensor) -> Tensor:
    """Which images ``[n, c, h, w]`` have finite values only: ``[n]`` bool."""
    return images.flatten(1).isfinite().all(1)


def as_stored(images: Tensor, dataset: Dataset) -> Tensor:
    """Bring generated images to what the data set holds: uint8 levels, or floats, clipped where
    they are pictures.

    Neither can tell what was not finite, so note that first (``finite_rows``).
    """
    if dataset.train.images.dtype == torch.uint8:
        levels = images.nan_to_num(nan=0.0) * 127.5 + 128  # + 128: half a level of rounding up
        return levels.clamp(0, 255).to(torch.uint8)
    return images.clamp(-1, 1) if dataset.bounded else images
