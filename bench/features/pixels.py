"""The pixels themselves."""

import math
from pathlib import Path

from bench.data import Dataset
from bench.features import Features


def load(dataset: Dataset, cache: Path, device: str) -> Features:
    """Images as vectors ``[n, c * h * w]``."""
    return Features(
        "pixels",
        lambda images: images.flatten(1),
        math.prod(dataset.image_shape),
        fingerprint="pixels",
    )
