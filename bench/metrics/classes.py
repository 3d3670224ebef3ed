"""Predicted classes of samples: their shares, and agreement with the classes asked for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.metrics.contract import FeatureSpace, SampleMetric, Values
from bench.record.infos import Info

UNKNOWN = -1
"""The class of a sample that cannot be classified, because it is not finite."""


class Classes(SampleMetric):
    """Class shares of all samples, and agreement with the classes that were asked for."""

    infos = (
        Info(
            "class_agreement",
            "Share of samples that the classifier takes for the class asked for.",
            "higher",
            figure=False,
            title="Class agreement",
            place=170,
        ),
        Info(
            "class_distance",
            "Total variation between the classes that the classifier sees in the samples and in"
            " real images.",
            "lower",
            figure=False,
            title="Class distance",
            place=190,
        ),
    )

    def __init__(self, space: FeatureSpace, n: int) -> None:
        super().__init__(space, n)
        self._predicted: list[Tensor] = []

    @classmethod
    def suits(cls, space: FeatureSpace, n: int) -> bool:
        """True for the features of a classifier."""
        return space.features.classify is not None

    def update(self, features: Tensor) -> None:
        """Classify the next samples."""
        # A classifier would give some class to NaN.
        finite = features.isfinite().all(1)
        # Classes are kept instead of features, so that memory hardly grows with the samples.
        predicted = self.space.features.classify(features)
        self._predicted.append(torch.where(finite, predicted, UNKNOWN))

    def compute(self) -> Values:
        """``class_distance`` to both splits; ``class_agreement`` of a conditional denoiser."""
        predicted = torch.cat(self._predicted)
        values: Values = {}
        for split, real in self.space.once(_real_classes).items():
            distance = class_distance(predicted, real, self.space.dataset.num_classes)
            values["class_distance", split] = distance
        if self.space.requested is not None:
            values["class_agreement", None] = class_agreement(predicted, self.space.requested)
        return values


def _real_classes(space: FeatureSpace) -> dict[str, Tensor]:
    """Predicted classes of the real images of each split."""
    classes = {}
    for split, real in space.real.items():
        classes[split] = torch.cat([space.features.classify(part) for part in real.parts()])
    return classes


def class_distance(generated: Tensor, real: Tensor, num_classes: int) -> float:
    """Total variation 1/2 sum_c |p_c - q_c| between the class shares of predictions ``[n]`` and
    ``[m]``, in [0, 1].

    Both sets are classified by the same network, so that its errors do not count as a difference.
    NaN where a class is ``UNKNOWN``.
    """
    # Before the shares are taken: bincount refuses negative classes.
    if (generated == UNKNOWN).any() or (real == UNKNOWN).any():
        return math.nan
    p = _shares(generated, num_classes)
    q = _shares(real, num_classes)
    return (p - q).abs().sum().item() / 2


def _shares(classes: Tensor, num_classes: int) -> Tensor:
    return torch.bincount(classes, minlength=num_classes).double() / len(classes)


def class_agreement(predicted: Tensor, asked: Tensor) -> float:
    """Share of samples whose predicted class ``[n]`` is the one that was asked for ``[n]``: top-1
    agreement.

    NaN where a predicted class is ``UNKNOWN``.
    """
    if (predicted == UNKNOWN).any():
        return math.nan
    return (predicted == asked).double().mean().item()
