"""Mode mixture: samples between the modes of the data, where a continuous map has to pass.

A well calibrated classifier is unsure of some real images too, and an overconfident one finds no
mixture at all. Compare the value with that of held-out real images.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from bench.metrics._finite import all_finite
from bench.metrics.contract import FeatureSpace, SampleMetric, Values
from bench.record.infos import Info

# As counted for DPM-OT; 0.2 in arXiv 2410.13431
THRESHOLDS = (0.1, 0.11, 0.115, 0.13, 0.16, 0.2, 0.3, 0.4)


def _infos() -> tuple[Info, ...]:
    """A pair for each threshold, which is part of the name: of samples, and of real images."""
    infos = []
    for threshold in THRESHOLDS:
        infos += [
            Info(
                metric_name(threshold),
                "Share of samples that the classifier places in two classes or more at once, each"
                " with at least the probability in the name: between modes. Compare it with that"
                " of real images; far below it, the samples lack what real ones have.",
                "lower",
                figure=False,
                family="mode_mixture",
                title=f"Mode mixture at {threshold:g}",
                place=180,
            ),
            Info(
                metric_name(threshold, "_real"),
                "Share of held-out real images that the classifier places in two classes or more"
                " at once: what an exact sampler would have.",
                figure=False,
                family="mode_mixture_real",
                title=f"Mode mixture of real images at {threshold:g}",
                place=181,
            ),
        ]
    return tuple(infos)


def metric_name(threshold: float, kind: str = "") -> str:
    """``mode_mixture_0.2``."""
    return f"mode_mixture_{threshold:g}{kind}"


class ModeMixture(SampleMetric):
    """The mode mixture of all samples, at every threshold; of real images see ``prior_error``."""

    infos = _infos()
    scope: ClassVar[str] = "starts"

    def __init__(self, space: FeatureSpace, n: int) -> None:
        super().__init__(space, n)
        self._probabilities: list[Tensor] = []

    @classmethod
    def suits(cls, space: FeatureSpace, n: int) -> bool:
        """True for the features of a classifier that gives probabilities."""
        return space.features.probabilities is not None

    @torch.no_grad()
    def update(self, features: Tensor) -> None:
        """Take the class probabilities of the next samples."""
        # The thresholds come last, so that one pass of the network serves all of them.
        self._probabilities.append(self.space.features.probabilities(features))

    def compute(self) -> Values:
        """The share at each threshold."""
        values: Values = {}
        for threshold, share in mixture_scan(torch.cat(self._probabilities)).items():
            values[metric_name(threshold), None] = share
        return values


def mode_mixture(probabilities: Tensor, threshold: float = 0.2) -> float:
    """Share of samples that two or more classes claim, each with ``threshold`` or more (Li et al.
    2023, Eq. 22).

    Args:
        probabilities: of a fixed classifier, ``[n, classes]``, rows of sum 1.
        threshold: above 0, and at most 1/2, beyond which no two classes can reach it.

    NaN where a probability is not finite.

    Raises:
        ValueError: another threshold, no samples, or rows that are no probabilities.

    """
    if not 0 < threshold <= 0.5:
        raise ValueError(f"threshold {threshold}: it must be above 0 and at most 0.5")
    if not all_finite(probabilities):
        return math.nan
    # The sum of a float32 softmax is far closer to 1 than this. Logits, passed by mistake, hardly
    # ever have such a sum.
    if not len(probabilities) or (probabilities.double().sum(1) - 1).abs().max() > 1e-3:
        raise ValueError(
            "mode mixture needs class probabilities [n, classes] that sum to 1: take the softmax"
        )
    return ((probabilities >= threshold).sum(1) >= 2).double().mean().item()


def mixture_scan(probabilities: Tensor) -> dict[float, float]:
    """``mode_mixture`` at every threshold that has been used, falling as the threshold rises."""
    return {threshold: mode_mixture(probabilities, threshold) for threshold in THRESHOLDS}


@torch.no_grad()
def mixture_of(space: FeatureSpace, images: Tensor) -> dict[float, float]:
    """``mode_mixture`` of stored images, at every threshold."""
    parts = [space.features.probabilities(part) for part in space.extract(images)]
    return mixture_scan(torch.cat(parts))
