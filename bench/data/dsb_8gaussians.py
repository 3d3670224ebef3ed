"""Eight Gaussians of standard deviation 1.5 on a circle of radius 12, as in DSB.

De Bortoli et al. 2021, Diffusion Schroedinger bridge (arXiv 2106.01357); the data of moons to
8gaussians in [SF]2M (Tong et al. 2024, arXiv 2307.03672, Table 2). The published set is redrawn in
every run without a seed, so its very points are not known.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bench.data import _plane
from bench.data.contract import Dataset

SHAPE = _plane.SHAPE
CLASSES = _plane.CENTRES

RADIUS = 12.0
STD = 1.5  # of each Gaussian, in each coordinate
_SEED = 43  # not that of the source: pairs as drawn must be independent
_VALIDATION_SEED = 1043


def load(data_dir: Path | None = None) -> Dataset:
    """Points as float32 ``[n, 2, 1, 1]``, 10,000 in each of three splits; label: the Gaussian."""
    # Fixed seeds: the points are the data, whatever the seed of the run.
    points, labels = _draw(2 * _plane.COUNT, _SEED)
    validation = _draw(_plane.COUNT, _VALIDATION_SEED)
    return _plane.dataset("dsb-8gaussians", points, labels, CLASSES, _plane.COUNT, validation)


def _draw(count: int, seed: int) -> tuple[Tensor, Tensor]:
    return _plane.circle_of_gaussians(count, RADIUS, STD, seed)
