"""The first pass over schedules x NFE, and the schedule that it chooses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from torch import Tensor

from bench.metrics._blocks import Blocks
from bench.metrics._moments import Moments
from bench.metrics.contract import FeatureSpace, SampleMetric, Values
from bench.metrics.frechet import quiet_distance, rank_caution
from bench.record.infos import Info

METRIC = "grid_fd"
NOISE = "grid_gain_se"
BLOCKS = 8  # of latents, each of which the jackknife leaves out once


class Grid(SampleMetric):
    """The Frechet distance of few samples to the training split.

    ``bench.record.best_schedule`` chooses by it.
    """

    infos = (
        Info(
            METRIC,
            "Search for the best schedule: Fréchet distance of few images at each schedule and"
            " NFE.",
            "lower",
            figure=False,
            place=120,
        ),
        Info(
            NOISE,
            "Search for the best schedule: standard error of the logarithm of the distance over"
            " that at the fixed schedule, from the same latents; 0 at the fixed schedule itself.",
            ratio=False,
            figure=False,
            place=121,
        ),
        Info(
            "best_schedule",
            "Parameter of the best schedule: the exponent of Karras' schedule, the shift of flow"
            " matching's. The fixed one, unless the first pass shows a gain beyond its noise.",
            ratio=False,
            figure=False,
            place=122,
        ),
        Info(
            "search_seeds",
            "Runs of one coupling, different in the seed only, that chose the best schedules"
            " together.",
            per="run",
            ratio=False,
            figure=False,
            terminal=False,
            place=123,
        ),
    )
    group: ClassVar[str] = "grid"
    scope: ClassVar[str] = "grid"

    def __init__(self, space: FeatureSpace, n: int) -> None:
        super().__init__(space, n)
        self._blocks = Blocks(n, BLOCKS)

    @classmethod
    def cautions(cls, space: FeatureSpace, n: int) -> list[str]:
        """A line if there are no more samples, or training images, than features."""
        count = min(n, len(space.dataset.train))
        return rank_caution(cls.full_name(METRIC, space.features.name), count, space)

    def update(self, features: Tensor) -> None:
        """Add the features to the moments of their blocks."""
        self._blocks.update(features)

    def compute(self) -> Values:
        """The distance to the training split: the test split takes no part in a choice."""
        return {(METRIC, "train"): self._distance(self._blocks.all())}

    def against(self, fixed: Grid) -> Values:
        """The standard error of ln(distance / that of the fixed schedule), by the jackknife over
        blocks of the latents that both share (Efron & Tibshirani 1993, Eq. 11.5).
        """
        own = self._left_out
        others = fixed._left_out
        # Both share latents, so most of their noise cancels in the ratio, block by block.
        ratios = [_log_ratio(value, other) for value, other in zip(own, others, strict=True)]
        return {(NOISE, "train"): jackknife_error(ratios)}

    @cached_property
    def _left_out(self) -> list[float]:
        """Distances of all samples but those of one block, for each block."""
        return [self._distance(moments) for moments in self._blocks.left_out()]

    def _distance(self, moments: Moments) -> float:
        return quiet_distance(moments, self.space.real["train"].moments)


def jackknife_error(left_out: Sequence[float]) -> float:
    """Standard error of a value from those without one of k blocks each; NaN if one is."""
    k = len(left_out)
    mean = sum(left_out) / k
    return math.sqrt((k - 1) / k * sum((value - mean) ** 2 for value in left_out))


def _log_ratio(value: float, fixed: float) -> float:
    # No logarithm of 0 or of values that are not finite: there is no noise to speak of then.
    if not (value > 0 and fixed > 0 and math.isfinite(value) and math.isfinite(fixed)):
        return math.nan
    return math.log(value / fixed)
