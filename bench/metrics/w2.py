"""The Wasserstein distance between sets of points, by exact optimal transport: for data of few
dimensions.

Its value at n points has a bias, which is all that two sets of one distribution have: the floor. In
clusters it falls slowly, as n^-1/4, for their shares vary by chance (eight Gaussians: 0.14 at 500
points, 0.08 at 2,000), and floors differ. So compare values at one n, and against the same points.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.data import Dataset
from bench.metrics._finite import all_finite
from bench.metrics.contract import SPLITS, FeatureSpace, SampleMetric, Values
from bench.record.infos import Info
from couplings.prices import assign

MOST_POINTS = 10_000  # half a minute of one core a distance, and 1.2 GB
MOST_PAIRS = 10


def w2(x: Tensor, y: Tensor) -> float:
    """The 2-Wasserstein distance of equal weights on x and on y, ``[n, d]`` each, in the units of
    the points.

    sqrt(min over permutations p of mean |x_i - y_p(i)|^2), which is the least over all plans too
    (Birkhoff), to the rounding of float64. It takes about 4 s of one core and 0.3 GB for 5,000
    points, 20 to 30 s and 1.2 GB for 10,000: costs and prices are matrices. POT's network simplex
    needs O(n) memory and two to four times as long. NaN where a point is not finite.

    Raises:
        ValueError: the sets differ in shape or are empty.

    """
    if x.shape != y.shape or x.dim() != 2 or not len(x):
        raise ValueError(
            f"w2 of {tuple(x.shape)} and {tuple(y.shape)}: give two sets [n, d] of the same shape"
        )
    # Loads slowly, and only data in the plane need it.
    from scipy.spatial.distance import cdist

    x = x.double().cpu()
    y = y.double().cpu()
    if not all_finite(x, y):
        return math.nan
    # Prices are float32, whose range squares of other units could leave.
    centre = y.mean(0)
    # If all points are equal, the scale is 0 and the division would give NaN: 1 serves.
    scale = max((x - centre).abs().max().item(), (y - centre).abs().max().item()) or 1.0
    sources = ((x - centre) / scale).numpy()
    targets = ((y - centre) / scale).numpy()
    # From the differences: squares by products would make points that are equal differ.
    columns = assign(cdist(sources, targets, "sqeuclidean"))
    squares = np.square(sources - targets[columns]).sum(1)
    return scale * math.sqrt(squares.mean())


def w2_bytes(n: int) -> int:
    """The memory of `w2` of n points: the costs in float64, and the prices' float32."""
    return 12 * n * n


class W2(SampleMetric):
    """W2 of samples in the plane to the points of each split, and how small it can be.

    The first n samples meet the first n points of a split, as many as there are of both, at most
    ``most_points``.
    """

    infos = (
        Info(
            "w2",
            "Exact 2-Wasserstein distance to points of the data; it falls with n, so compare at"
            " one n only.",
            "lower",
            distance=True,
            title="Wasserstein distance",
            place=10,
        ),
        Info(
            "w2_floor",
            "W2 between two sets of real points: the best that a perfect model can expect.",
            title="Wasserstein distance of real points",
            place=11,
        ),
    )
    alone: ClassVar[tuple[str, ...]] = ("w2", "w2_floor")
    only_in: ClassVar[str | None] = "pixels"
    most_points: ClassVar[int] = MOST_POINTS
    most_pairs: ClassVar[int] = MOST_PAIRS

    def __init__(self, space: FeatureSpace, n: int) -> None:
        dataset = space.dataset
        size = min(n, len(dataset.train), len(dataset.test), self.most_points)
        super().__init__(space, size)
        self._points: list[Tensor] = []
        self._gathered = 0

    @classmethod
    def suits(cls, space: FeatureSpace, n: int) -> bool:
        """True for points of two coordinates."""
        return in_the_plane(space.dataset)

    def update(self, features: Tensor) -> None:
        """Keep the points as long as some are missing."""
        part = features[: self.n - self._gathered]
        self._points.append(part)
        self._gathered += len(part)

    def compute(self) -> Values:
        """``w2`` to both splits, and ``w2_floor``."""
        samples = torch.cat(self._points)
        values: Values = {}
        for split in SPLITS:
            values["w2", split] = w2(samples, _real_points(self.space.dataset, split)[: self.n])
        values["w2_floor", None] = self.space.once(_floor, self.n, self.most_pairs)
        return values


def _real_points(dataset: Dataset, split: str) -> Tensor:
    """Points ``[m, 2]`` of a split."""
    return getattr(dataset, split).images.flatten(1)


def _floor(space: FeatureSpace, size: int, most_pairs: int) -> float:
    """Root mean square distance between as many training and held-out points, over pairs of
    disjoint sets of them.
    """
    train = _real_points(space.dataset, "train").split(size)
    test = _real_points(space.dataset, "test").split(size)
    squares: list[float] = []
    # The splits may have different numbers of sets; those without a partner are left out.
    for first, second in zip(train, test, strict=False):
        # The last set of a split may be smaller, and its distance another estimate.
        if len(first) == len(second) == size and len(squares) < most_pairs:
            squares.append(w2(first, second) ** 2)
    return math.sqrt(sum(squares) / len(squares))


def in_the_plane(dataset: Dataset) -> bool:
    """True if the data are points of two coordinates."""
    return math.prod(dataset.image_shape) == 2
