"""Metrics that compare samples one by one with real images share how they gather the samples."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.metrics.contract import FeatureSpace, SampleMetric

K = 5  # nearest neighbours that make the ball of a sample, see ``bench.metrics.prdc``


class FirstSamples(SampleMetric):
    """Base of metrics that look at the first samples only, as many as ``space.most``."""

    def __init__(self, space: FeatureSpace, n: int) -> None:
        # Rows record this smaller number, because the values depend on how many are compared.
        super().__init__(space, min(n, space.most))
        self._parts: list[Tensor] = []
        self._gathered = 0

    def update(self, features: Tensor) -> None:
        """Keep the features as long as samples are missing."""
        part = features[: self.n - self._gathered]
        if len(part):
            self._parts.append(part)
            self._gathered += len(part)

    @property
    def samples(self) -> Tensor:
        """Features ``[n, size]`` of the samples."""
        return torch.cat(self._parts)


def has_neighbours(space: FeatureSpace, n: int) -> bool:
    """True if there are more samples and real images than ``K``, and distances show likeness."""
    dataset = space.dataset
    # A sample is not its own neighbour, so K of them take K + 1 samples.
    fewest = min(n, len(dataset.train), len(dataset.test))
    return fewest > K and not space.is_pixels_of_pictures
