"""Two moons, scikit-learn's with noise 0.1, standardised, times 7, as in DSB.

De Bortoli et al. 2021, Diffusion Schroedinger bridge (arXiv 2106.01357); the source of moons to
8gaussians in [SF]2M (Tong et al. 2024, arXiv 2307.03672, Table 2). Mean and standard deviation are
single numbers over all coordinates of the draw, so the moons keep their shape; with another number
of points in the draw they differ in the third digit. The published set is redrawn in every run
without a seed, so its very points are not known.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bench.data import _plane
from bench.data.contract import Dataset

SHAPE = _plane.SHAPE
CLASSES = 2

NOISE = 0.1  # before scaling
SCALE = 7.0  # standard deviation over all coordinates
_SEED = 42
_VALIDATION_SEED = 1042


def load(data_dir: Path | None = None) -> Dataset:
    """Points as float32 ``[n, 2, 1, 1]``, 10,000 in each of three splits; label: the moon."""
    # Fixed seeds: the points are the data, whatever the seed of the run.
    points, labels = _draw(2 * _plane.COUNT, _SEED)
    validation = _draw(_plane.COUNT, _VALIDATION_SEED)
    return _plane.dataset("dsb-moons", points, labels, CLASSES, _plane.COUNT, validation)


def _draw(count: int, seed: int) -> tuple[Tensor, Tensor]:
    points, labels = _plane.sklearn_moons(count, NOISE, seed)
    return SCALE * (points - points.mean()) / points.std(), labels
