"""The first pass over schedules x NFE, and the schedule that it chooses."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from bench.metrics._moments import Moments
from bench.metrics.contract import FeatureSpace, SampleMetric, Values
from bench.metrics.frechet import quiet_distance, rank_caution
from bench.record.infos import Info

METRIC = "grid_fd"


class Grid(SampleMetric):
    """The Frechet distance of few samples to the training split.

    ``bench.record.best_schedule`` chooses by it.
    """

    infos = (
        Info(
            METRIC,
            "First pass: Fréchet distance of few images at each schedule and NFE, by which the best"
            " schedule is chosen.",
            "lower",
            figure=False,
            place=120,
        ),
        Info(
            "best_schedule",
            "Parameter of the schedule with the lowest distance in the first pass: the exponent of"
            " Karras' schedule, the shift of flow matching's.",
            ratio=False,
            figure=False,
            place=121,
        ),
    )
    group: ClassVar[str] = "grid"
    scope: ClassVar[str] = "grid"

    def __init__(self, space: FeatureSpace, n: int) -> None:
        super().__init__(space, n)
        self._moments: Moments | None = None

    @classmethod
    def cautions(cls, space: FeatureSpace, n: int) -> list[str]:
        """A line if there are no more samples, or training images, than features."""
        count = min(n, len(space.dataset.train))
        return rank_caution(cls.full_name(METRIC, space.features.name), count, space)

    def update(self, features: Tensor) -> None:
        """Add the features to the moments."""
        moments = Moments.of(features)
        self._moments = moments if self._moments is None else self._moments + moments

    def compute(self) -> Values:
        """The distance to the training split: the test split takes no part in a choice."""
        assert self._moments is not None, "no samples"
        distance = quiet_distance(self._moments, self.space.real["train"].moments)
        return {(METRIC, "train"): distance}
