"""An S curve, scikit-learn's with noise 0.05, coordinates 0 and 2, times 1.5, as in [SF]2M.

Tong et al. 2024 (arXiv 2307.03672), Table 2, N to scurve. The seed, 42, is theirs. The paper has
10,000 points in each split, the public code 1,000 held-out ones; how the splits are cut from the
draw is not stated, so the very points may differ.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bench.data import _plane
from bench.data.contract import Dataset

SHAPE = _plane.SHAPE
CLASSES = 1

NOISE = 0.05  # before scaling
SCALE = 1.5
_SEED = 42
_VALIDATION_SEED = 1042


def load(data_dir: Path | None = None) -> Dataset:
    """Points as float32 ``[n, 2, 1, 1]``, 10,000 in each of three splits; no classes."""
    # Fixed seeds: the points are the data, whatever the seed of the run.
    points, labels = _draw(2 * _plane.COUNT, _SEED)
    validation = _draw(_plane.COUNT, _VALIDATION_SEED)
    return _plane.dataset("sf2m-scurve", points, labels, CLASSES, _plane.COUNT, validation)


def _draw(count: int, seed: int) -> tuple[Tensor, Tensor]:
    points = SCALE * _plane.sklearn_s_curve(count, NOISE, seed)
    return points, torch.zeros(count, dtype=torch.int64)
