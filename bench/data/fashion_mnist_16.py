"""Fashion-MNIST at 16x16: the 32x32 set, each 2x2 block averaged. Small enough to train on without
a GPU.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bench.data import fashion_mnist
from bench.data.contract import Dataset, Split

SHAPE = (1, 16, 16)
CLASSES = 10


def load(data_dir: Path | None = None) -> Dataset:
    """Fashion-MNIST as uint8 ``[n, 1, 16, 16]``: 60,000 and 10,000 images.

    Raises:
        DataError: the files are missing and cannot be fetched, or fail their checksum.

    """
    # From the 32x32 set: one download serves both.
    full = fashion_mnist.load(data_dir)
    train, test = (Split(halve(split.images), split.labels) for split in (full.train, full.test))
    return Dataset("fashion-mnist-16", train, test, full.num_classes)


def halve(images: Tensor) -> Tensor:
    """Average each 2x2 block of uint8 ``[n, c, h, w]``, rounded half up, in uint8 ``[n, c, h/2,
    w/2]``.
    """
    n, c, h, w = images.shape
    # Integers round alike on every machine; a sum of four bytes needs more than 8 bits.
    blocks = images.reshape(n, c, h // 2, 2, w // 2, 2)
    return ((blocks.sum(dim=(3, 5), dtype=torch.int16) + 2) // 4).to(torch.uint8)
