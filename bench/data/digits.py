"""Scikit-learn's 1,797 handwritten digits of 8x8 pixels: the set that needs no files.

Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
1998 (its test part, as embedded in scikit-learn).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bench.data.contract import Dataset, Split

SHAPE = (1, 8, 8)
CLASSES = 10

_NUM_TEST = 360
_SEED = 0


def load(data_dir: Path | None = None) -> Dataset:
    """Digits as float32 ``[n, 1, 8, 8]`` in [-1, 1]; a fixed split, stratified by label, of 1437
    and 360.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    # Embedded in the package: no download, so that the first command works offline.
    pixels, labels = load_digits(return_X_y=True)  # [n, 64] in 0..16, [n]
    images = torch.from_numpy(pixels / 8 - 1).float().reshape(-1, 1, 8, 8)
    rows = np.arange(len(labels))
    parts = train_test_split(rows, test_size=_NUM_TEST, stratify=labels, random_state=_SEED)
    train, test = (Split(images[part], torch.from_numpy(labels[part]).long()) for part in parts)
    return Dataset("digits", train, test, num_classes=CLASSES)
