"""Eight equal Gaussians on a circle in the plane, as images of two channels and one pixel.

The density is known: the mixture of N(MEANS[k], STD^2 I) with equal weights. Each coordinate has
mean 0 and variance RADIUS^2 / 2 + STD^2 = 0.5^2, EDM's sigma_data.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch

from bench.data.contract import Dataset, Split

SIGMA_DATA = 0.5
STD = 0.05  # of each Gaussian, in each coordinate
RADIUS = math.sqrt(2 * (SIGMA_DATA**2 - STD**2))
NUM_MODES = 8

SHAPE = (2, 1, 1)  # a point in the plane as an image of two channels and one pixel
CLASSES = NUM_MODES
_ANGLES = [2 * math.pi * mode / NUM_MODES for mode in range(NUM_MODES)]
_PLACES = [[math.cos(a), math.sin(a)] for a in _ANGLES]
MEANS = RADIUS * torch.tensor(_PLACES, dtype=torch.float64, device="cpu")  # [8, 2]

_NUM_TRAIN = _NUM_TEST = 10_000
_SEED = 0


def load(data_dir: Path | None = None) -> Dataset:
    """Points as float32 ``[n, 2, 1, 1]``; label: the Gaussian each was drawn from."""
    # The same points in every run, whatever its seed: they are the data, not a draw.
    generator = torch.Generator().manual_seed(_SEED)
    total = _NUM_TRAIN + _NUM_TEST
    labels = torch.randint(NUM_MODES, (total,), generator=generator)
    points = MEANS[labels] + STD * torch.randn(total, 2, generator=generator, dtype=torch.float64)
    images = points.float().reshape(-1, 2, 1, 1)
    train = Split(images[:_NUM_TRAIN], labels[:_NUM_TRAIN])
    test = Split(images[_NUM_TRAIN:], labels[_NUM_TRAIN:])
    return Dataset("eight-gaussians", train, test, num_classes=CLASSES, bounded=False)
