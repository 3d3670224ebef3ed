"""Two interleaved half circles in the plane, as images of two channels and one pixel.

With t uniform on [0, pi], moon 0 is (cos t, sin t) and moon 1 is (1 - cos t, 1/2 - sin t), both
with Gaussian noise. The two coordinates have mean (1/2, 1/4) and, without the noise, variance (3/4,
9/16 - 1/pi).
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from bench.data.contract import Dataset, Split

SHAPE = (2, 1, 1)
CLASSES = 2

NOISE_STD = 0.05  # before scaling
MEAN = (1 / 2, 1 / 4)
STD = (math.sqrt(3 / 4 + NOISE_STD**2), math.sqrt(9 / 16 - 1 / math.pi + NOISE_STD**2))
SIGMA_DATA = 0.5  # standard deviation of each coordinate after scaling: EDM's sigma_data

_NUM_TRAIN = _NUM_TEST = 10_000
_SEED = 0


def load(data_dir: Path | None = None) -> Dataset:
    """Points as float32 ``[n, 2, 1, 1]``, mean 0, std 0.5 in each coordinate; label: the moon."""
    # The same points in every run, whatever its seed: they are the data, not a draw.
    generator = torch.Generator().manual_seed(_SEED)
    total = _NUM_TRAIN + _NUM_TEST
    labels = torch.randint(2, (total,), generator=generator)
    angle = math.pi * torch.rand(total, generator=generator, dtype=torch.float64)
    moons = torch.stack([angle.cos(), angle.sin()], dim=1)  # [n, 2]
    moons = torch.where(labels[:, None] == 0, moons, torch.tensor([1.0, 0.5]) - moons)
    # In float64, so that the points are alike on all machines before they are rounded.
    moons = moons + NOISE_STD * torch.randn(total, 2, generator=generator, dtype=torch.float64)
    scaled = (moons - torch.tensor(MEAN)) * SIGMA_DATA / torch.tensor(STD)
    images = scaled.float().reshape(-1, 2, 1, 1)
    train = Split(images[:_NUM_TRAIN], labels[:_NUM_TRAIN])
    test = Split(images[_NUM_TRAIN:], labels[_NUM_TRAIN:])
    return Dataset("moons", train, test, num_classes=CLASSES, bounded=False)
