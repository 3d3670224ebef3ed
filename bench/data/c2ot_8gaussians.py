"""Eight Gaussians of variance sqrt(0.1) on a circle of radius 5: the source of C2OT's Figure 1.

Cheng and Schwing 2025, The curse of conditions (arXiv 2503.10636). The public code takes the root
of the variance 0.1 before it becomes a covariance, so the standard deviation is 0.562 and not
0.316. The authors draw new points for every batch; here there are so many that draws are nearly
new ones.
"""

from __future__ import annotations

from pathlib import Path

from bench.data import _plane
from bench.data.contract import Dataset

SHAPE = _plane.SHAPE
CLASSES = _plane.CENTRES

RADIUS = 5.0
STD = 0.1**0.25  # of each Gaussian, in each coordinate
_SEED = 0


def load(data_dir: Path | None = None) -> Dataset:
    """Points as float32 ``[n, 2, 1, 1]``, 500,000 and 10,000; label: the Gaussian."""
    # A fixed seed: the points are the data, whatever the seed of the run.
    points, labels = _plane.circle_of_gaussians(_plane.MANY + _plane.COUNT, RADIUS, STD, _SEED)
    return _plane.dataset("c2ot-8gaussians", points, labels, CLASSES, _plane.COUNT)
