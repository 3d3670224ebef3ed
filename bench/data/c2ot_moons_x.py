"""The moons of C2OT's Figure 1 with their x coordinate as the condition.

Cheng and Schwing 2025, The curse of conditions (arXiv 2503.10636). The points, and what is
uncertain about them, are those of ``c2ot-moons``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.data import c2ot_moons
from bench.data.contract import Dataset, Split

SHAPE = c2ot_moons.SHAPE
CLASSES = 1  # conditions are numbers


def load(data_dir: Path | None = None) -> Dataset:
    """Points as float32 ``[n, 2, 1, 1]``, 500,000 and 10,000; condition: x, float32 ``[n, 1]``."""
    points = c2ot_moons.load(data_dir)
    # After scaling, as the network sees the points.
    train, test = (_told_x(split) for split in (points.train, points.test))
    return replace(points, name="c2ot-moons-x", train=train, test=test, num_classes=CLASSES)


def _told_x(split: Split) -> Split:
    return Split(split.images, split.images[:, :1, 0, 0].clone())
