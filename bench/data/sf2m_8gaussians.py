"""Eight Gaussians of standard deviation 1 on a circle of radius 5, as in [SF]2M.

Tong et al. 2024, Simulation-free Schroedinger bridges via score and flow matching (arXiv
2307.03672), Table 2, N to 8gaussians. The published set is redrawn in every run without a seed, so
its very points are not known; a jitter of 1e-4 that its generator may add is left out.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bench.data import _plane
from bench.data.contract import Dataset

SHAPE = _plane.SHAPE
CLASSES = _plane.CENTRES

RADIUS = 5.0
STD = 1.0  # of each Gaussian, in each coordinate
_SEED = 42
_VALIDATION_SEED = 1042


def load(data_dir: Path | None = None) -> Dataset:
    """Points as float32 ``[n, 2, 1, 1]``, 10,000 in each of three splits; label: the Gaussian."""
    # Fixed seeds: the points are the data, whatever the seed of the run.
    points, labels = _draw(2 * _plane.COUNT, _SEED)
    validation = _draw(_plane.COUNT, _VALIDATION_SEED)
    return _plane.dataset("sf2m-8gaussians", points, labels, CLASSES, _plane.COUNT, validation)


def _draw(count: int, seed: int) -> tuple[Tensor, Tensor]:
    return _plane.circle_of_gaussians(count, RADIUS, STD, seed)
