"""Copies of training images: are samples nearer to the training set than images are that nobody
trained on?

Distances alone mean nothing, as they depend on data and features. So held-out real images are the
measure: a model that has learnt the distribution is as near to the training set as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from bench.metrics._finite import all_finite
from bench.metrics._first import FirstSamples
from bench.metrics.contract import FeatureSpace, Values
from bench.record.infos import Info

QUANTILE = 0.05  # share of the held-out images that counts as copies: what chance alone gives


class Copies(FirstSamples):
    """Distances of the first samples to the training set, against those of held-out images."""

    infos = (
        Info(
            "copy_rate",
            "Share of samples nearer to a training image than all but 5 % of the held-out images."
            " As new as these is 0.05; more means copies, less means samples unlike any image, so"
            " neither higher nor lower is better.",
            figure=False,
            title="Copy rate",
            place=160,
        ),
        Info(
            "copy_distance",
            "Median distance to the nearest training image, over that of held-out images. 1 is as"
            " new as these; below means copies, above means samples unlike any image, so neither"
            " higher nor lower is better.",
            figure=False,
            title="Distance to the nearest training image",
            place=161,
        ),
    )

    def compute(self) -> Values:
        """Both metrics; the training split is the one that could be copied."""
        generated = distance_to_training(self.space, self.samples)
        # Of real images only, so one computation serves every setting.
        held_out = self.space.once(_held_out_distances)
        return {
            ("copy_rate", "train"): copy_rate(generated, held_out),
            ("copy_distance", "train"): copy_distance(generated, held_out),
        }


def distance_to_training(space: FeatureSpace, features: Tensor) -> Tensor:
    """Distance ``[n]`` of features ``[n, d]`` to the nearest of all training images."""
    return nearest(features.to(space.device), space.real["train"].parts()).cpu()


def _held_out_distances(space: FeatureSpace) -> Tensor:
    return distance_to_training(space, space.some["test"])


def nearest(x: Tensor, reference: Iterable[Tensor]) -> Tensor:
    """Distance ``[n]``, in float64, from each row of x ``[n, d]`` to its nearest reference.

    References come in chunks ``[., d]``, which bound the memory. A matrix product, |a|^2 + |b|^2 -
    2 a.b, is quick but loses what the norms and the product have in common. So it only chooses the
    nearest of a chunk, about the chunk's mean, and the distance is taken from the difference of the
    two: that of a copy is exactly 0. Among rows whose distances differ by less than some 1e-8 of
    the spread of the data the choice is open.
    """
    return nearest_rows(x, reference)[0]


def nearest_rows(x: Tensor, reference: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Distance ``[n]`` as ``nearest``, and the row ``[n]`` of the nearest reference."""
    x = x.double()
    found = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    row = torch.zeros(len(x), dtype=torch.long, device=x.device)
    start = 0
    for chunk in reference:
        rows = chunk.to(x.device).double()
        centre = rows.mean(0)
        chosen = torch.cdist(
            x - centre, rows - centre, compute_mode="use_mm_for_euclid_dist"
        ).argmin(1)
        distance = (x - rows[chosen]).norm(dim=1)
        row = torch.where(distance < found, start + chosen, row)
        torch.minimum(found, distance, out=found)
        start += len(rows)
    return found, row


def copy_rate(generated: Tensor, held_out: Tensor, quantile: float = QUANTILE) -> float:
    """Share of samples nearer to the training set than all but a quantile of the held-out images
    (this project's own).

    Both are distances to the nearest training image, ``[n]`` and ``[m]``. Samples as good as
    held-out images give the quantile, copies give 1, samples far from all images give 0. In the
    spirit of the nearest-neighbour test of Meehan, Chaudhuri & Dasgupta 2020, which compares the
    same two sets of distances. NaN where a distance is not finite.
    """
    if not all_finite(generated, held_out):
        return math.nan
    # Strictly nearer: if held-out images are copies themselves, a copy is as new as they are.
    return (generated < torch.quantile(held_out, quantile)).double().mean().item()


def copy_distance(generated: Tensor, held_out: Tensor) -> float:
    """Ratio of the median distances ``[n]`` and ``[m]`` to the nearest training image.

    1 is as near as held-out images are, below is nearer, 0 is a copy. Not finite where these are
    copies themselves, and NaN where a distance is not finite.
    """
    if not all_finite(generated, held_out):
        return math.nan
    # Medians, because a few samples far from all images would decide a mean.
    return (generated.double().median() / held_out.double().median()).item()
