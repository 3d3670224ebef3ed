"""The Wasserstein distance between sets of points, by exact optimal transport: for data of few
dimensions.

Its value at n points has a bias, which is all that two sets of one distribution have: the floor. In
clusters it falls slowly, as n^-1/4, for their shares vary by chance (eight Gaussians: 0.14 at 500
points, 0.08 at 2,000), and floors differ. So compare values at one n, and against the same points.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bench.data import Dataset
from bench.metrics._finite import all_finite

MOST_POINTS = 10_000  # some 25 s of one core; beyond, the solver takes minutes
MOST_PAIRS = 10
MOST_ITERATIONS = 10**8  # 10,000 points in the plane take less than a hundredth
SPLITS = ("train", "test")


def w2(x: Tensor, y: Tensor) -> float:
    """The 2-Wasserstein distance of equal weights on x and on y, ``[n, d]`` each, in the units of
    the points.

    sqrt(min over permutations p of mean |x_i - y_p(i)|^2), which is the least over all plans too
    (Birkhoff). By the network simplex of POT (Bonneel et al. 2011), which here computes costs as it
    goes along: memory is O(n), time is about O(n^2). NaN where a point is not finite.

    Raises:
        ValueError: the sets differ in shape or are empty.
        RuntimeError: the solver did not reach the optimum.

    """
    from ot import emd2_lazy

    if x.shape != y.shape or x.dim() != 2 or not len(x):
        raise ValueError(
            f"w2 of {tuple(x.shape)} and {tuple(y.shape)}: give two sets [n, d] of the same shape"
        )
    x, y = x.double().cpu(), y.double().cpu()
    if not all_finite(x, y):
        return math.nan
    # Flows of 1 are added without rounding.
    centre, ones = y.mean(0), torch.ones(len(x), dtype=torch.float64, device="cpu").numpy()
    scale = max((x - centre).abs().max().item(), (y - centre).abs().max().item()) or 1.0
    x, y = (((z - centre) / scale).numpy() for z in (x, y))  # the solver's tolerance is absolute
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # raised below
        total, log = emd2_lazy(
            x, y, ones, ones, numItermax=MOST_ITERATIONS, log=True, return_matrix=False
        )
    if log["warning"]:
        raise RuntimeError(f"w2 of {len(x)} points: {log['warning']} Take fewer points")
    return scale * math.sqrt(max(total, 0.0) / len(x))


@dataclass(frozen=True)
class PlaneRuler:
    """The distance of samples in the plane to the points of a data set, and how small it can be.

    For data ``in_the_plane``. The first n samples meet the first n points of a split, as many as
    there are of both, at most ``MOST_POINTS``.
    """

    dataset: Dataset

    def names(self, n: int, conditional: bool = False) -> list[tuple[str, str | None, int]]:
        """Metric, split and number of points behind it, of all that ``measure`` finds in ``n``
        samples.
        """
        size = self._size(n)
        return [*(("w2", split, size) for split in SPLITS), ("w2_floor", None, size)]

    def measure(
        self, images: Iterable[Tensor], n: int, asked: Tensor | None = None
    ) -> dict[tuple[str, str | None], float]:
        """The distances of ``n`` generated points, given in chunks ``[., c, h, w]``; what classes
        were asked is no use.

        ``w2_floor`` is the root mean square distance between as many training and held-out points,
        of each pair of disjoint sets of them up to ``MOST_PAIRS``.
        """
        size = self._size(n)
        samples = torch.cat(list(images)).flatten(1)[:size]
        found = {("w2", split): w2(samples, self._points[split][:size]) for split in SPLITS}
        return {**found, ("w2_floor", None): self._floor(size)}

    def _size(self, n: int) -> int:
        return min(n, len(self.dataset.train), len(self.dataset.test), MOST_POINTS)

    @cached_property
    def _points(self) -> dict[str, Tensor]:
        return {split: getattr(self.dataset, split).images.flatten(1) for split in SPLITS}

    @cached_property
    def _floors(self) -> dict[int, float]:
        return {}

    def _floor(self, size: int) -> float:
        if size not in self._floors:
            train, test = (self._points[split].split(size) for split in SPLITS)
            pairs = [(a, b) for a, b in zip(train, test, strict=False) if len(a) == len(b) == size][
                :MOST_PAIRS
            ]
            self._floors[size] = math.sqrt(sum(w2(a, b) ** 2 for a, b in pairs) / len(pairs))
        return self._floors[size]


def in_the_plane(dataset: Dataset) -> bool:
    """Whether the data are points of two coordinates."""
    return math.prod(dataset.image_shape) == 2
