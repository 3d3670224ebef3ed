"""Two moons, scikit-learn's with noise 0.05, times 2 minus 1, as in [SF]2M.

Tong et al. 2024 (arXiv 2307.03672), Table 2, N to moons. The seed, 42, is theirs. The paper has
10,000 points in each split, the public code 1,000 held-out ones; how the splits are cut from the
draw is not stated, so the very points may differ.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bench.data import _plane
from bench.data.contract import Dataset

SHAPE = _plane.SHAPE
CLASSES = 2

NOISE = 0.05  # before scaling
SCALE = 2.0
SHIFT = -1.0
_SEED = 42
_VALIDATION_SEED = 1042


def load(data_dir: Path | None = None) -> Dataset:
    """Points as float32 ``[n, 2, 1, 1]``, 10,000 in each of three splits; label: the moon."""
    # Fixed seeds: the points are the data, whatever the seed of the run.
    points, labels = _draw(2 * _plane.COUNT, _SEED)
    validation = _draw(_plane.COUNT, _VALIDATION_SEED)
    return _plane.dataset("sf2m-moons", points, labels, CLASSES, _plane.COUNT, validation)


def _draw(count: int, seed: int) -> tuple[Tensor, Tensor]:
    points, labels = _plane.sklearn_moons(count, NOISE, seed)
    return SCALE * points + SHIFT, labels
