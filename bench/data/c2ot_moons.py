"""Two half circles with noise 0.2, times 3 minus 1: the data of C2OT's Figure 1.

Cheng and Schwing 2025, The curse of conditions (arXiv 2503.10636), with the moons of torchdyn
1.0.6, whose noise is uniform and the same in both coordinates of a point. The authors draw new
points for every batch; here there are so many that draws are nearly new ones.
"""

from __future__ import annotations

from pathlib import Path

from bench.data import _plane
from bench.data.contract import Dataset

SHAPE = _plane.SHAPE
CLASSES = 2

NOISE = 0.2  # largest shift, before scaling
SCALE = 3.0
SHIFT = -1.0
_SEED = 1  # not that of the source: pairs as drawn must be independent


def load(data_dir: Path | None = None) -> Dataset:
    """Points as float32 ``[n, 2, 1, 1]``, 500,000 and 10,000; label: the half circle."""
    # A fixed seed: the points are the data, whatever the seed of the run.
    points, labels = _plane.half_circles(_plane.MANY + _plane.COUNT, NOISE, _SEED)
    return _plane.dataset("c2ot-moons", SCALE * points + SHIFT, labels, CLASSES, _plane.COUNT)
