"""Frechet distance between two Gaussians fitted to features; "FID" only for Inception features of
50,000 images.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from bench.metrics._fd_infinity import fd_infinity, sizes
from bench.metrics._finite import all_finite
from bench.metrics._moments import Moments
from bench.metrics.contract import SPLITS, FeatureSpace, SampleMetric, Values
from bench.record.infos import Info

# The features whose Frechet distance is called FID, their size, and the number of images: no more
# and no fewer, for the distance depends on it.
FID_FEATURES = "inception"
FID_SIZE = 2048
FID_IMAGES = 50_000

_FD = Info(
    "fd",
    "Fréchet distance in features of your own; not an FID.",
    "lower",
    family="fd",
    distance=True,
    floor=True,
    title="Fréchet distance",
    place=20,
)
_FID = Info(
    "fid",
    "Fréchet inception distance: in the features of Inception-v3, 50,000 images.",
    "lower",
    distance=True,
    floor=True,
    title="FID",
    place=21,
)
# No ``distance``: couplings are not to be judged by a value that may fall below zero.
_INFINITY = Info(
    "fd_infinity",
    "Fréchet distance extrapolated to infinitely many samples; by chance it may fall below zero.",
    "lower",
    figure=False,
    floor=True,
    title="Fréchet distance for infinitely many images",
    place=130,
)
# What is to be said of the distance in features that come with this project, and where it stands
# in a report. Pixels say little about how images look, so they come after the truncation error.
_KNOWN = {
    "inception": (
        "Fréchet distance in the features of Inception-v3; an FID only at 50,000 images.",
        22,
    ),
    "dinov2": ("Fréchet distance in the features of DINOv2; not an FID.", 23),
    "classifier": (
        "Fréchet distance in the features of a classifier trained on this data set; not an FID.",
        24,
    ),
    "pixels": ("Fréchet distance on raw pixels; not an FID.", 31),
}


class Frechet(SampleMetric):
    """The Frechet distance of all samples, FID of the first 50,000, and the extrapolated one."""

    infos = (_FD, _FID, _INFINITY)
    alone: ClassVar[tuple[str, ...]] = ("fid",)
    fid_images: ClassVar[int] = FID_IMAGES
    fid_size: ClassVar[int] = FID_SIZE

    def __init__(self, space: FeatureSpace, n: int) -> None:
        super().__init__(space, n)
        self._counts = self.counts(space, n)
        self._line = _extrapolated(space, n)
        # One pass gives the distances of all counts, each taken where the sums reach it.
        self._stops = sorted({*self._line, *self._counts.values()})
        self._moments: Moments | None = None
        self._distances: dict[str, dict[int, float]] = {split: {} for split in SPLITS}

    @classmethod
    def counts(cls, space: FeatureSpace, n: int) -> dict[str, int]:
        """Frechet distances of ``n`` samples, and how many samples each is computed from."""
        features = space.features
        is_fid = (features.name, features.size) == (FID_FEATURES, cls.fid_size)
        if not is_fid or n < cls.fid_images:
            return {"fd": n}
        # Of exactly 50,000 samples both would be the same number.
        if n == cls.fid_images:
            return {"fid": n}
        return {"fid": cls.fid_images, "fd": n}

    @classmethod
    def cautions(cls, space: FeatureSpace, n: int) -> list[str]:
        """Lines about distances of no more samples, or real images, than features."""
        lines = []
        smallest = min(len(getattr(space.dataset, split)) for split in SPLITS)
        for metric, count in cls.counts(space, n).items():
            name = cls.full_name(metric, space.features.name)
            lines += rank_caution(name, min(count, smallest), space)
        return lines

    def update(self, features: Tensor) -> None:
        """Add the features to the moments; take the distances where a count is reached."""
        seen = self._moments.count if self._moments else 0
        # A count may be inside a chunk, and what was added to the sums cannot be taken out again.
        cuts = [stop - seen for stop in self._stops if seen < stop < seen + len(features)]
        for part in features.tensor_split(cuts):
            moments = Moments.of(part)
            self._moments = moments if self._moments is None else self._moments + moments
            if self._moments.count in self._stops:
                self._take_distances(self._moments)

    def compute(self) -> Values:
        """``fd`` and ``fid`` to each split, and ``fd_infinity`` if there are samples enough."""
        values: Values = {}
        for split, distances in self._distances.items():
            for metric, count in self._counts.items():
                values[metric, split] = distances[count]
            if self._line:
                on_line = {count: distances[count] for count in self._line}
                values["fd_infinity", split] = fd_infinity(on_line)
        return values

    def count(self, metric: str) -> int:
        """All samples, but for FID the first 50,000."""
        return self._counts.get(metric, self.n)

    @classmethod
    def describe(cls, metric: str) -> tuple[int, Info] | None:
        """As for all metrics, with the sentence on the features that are known."""
        match = super().describe(metric)
        if match is None or match[1].family != "fd":
            return match
        about, place = _KNOWN.get(metric.removeprefix("fd_"), (_FD.about, _FD.place))
        return match[0], replace(match[1], about=about, place=place)

    def _take_distances(self, moments: Moments) -> None:
        for split, real in self.space.real.items():
            self._distances[split][moments.count] = quiet_distance(moments, real.moments)


def rank_caution(metric: str, count: int, space: FeatureSpace) -> list[str]:
    """A line if a covariance of so many samples has no full rank."""
    size = space.features.size
    if count > size:
        return []
    return [f"{metric} from {count} images in {size} dimensions is unreliable"]


def _extrapolated(space: FeatureSpace, n: int) -> list[int]:
    """Numbers of samples to extrapolate from; none where that would be unsound or slow."""
    # A quarter of the samples must make a covariance of full rank. In the pixels of pictures each
    # distance would take seconds.
    sound = n // 4 > space.features.size
    return sizes(n) if sound and not space.is_pixels_of_pictures else []


def frechet_distance(samples: Moments, reference: Moments) -> float:
    """|m - m_r|^2 + Tr(S + S_r - 2 (S S_r)^(1/2)) (Heusel et al. 2017, Eq. 6).

    The trace of the root is the sum of the roots of the eigenvalues of S_r^(1/2) S S_r^(1/2), which
    is symmetric, so no matrix square root of a non-symmetric product is needed. The root of the
    reference is kept by it: of many distances to one reference, each takes the eigenvalues of one
    matrix.

    Warns:
        UserWarning: fewer samples than features, where the covariance has no full rank.

    """
    if not (samples.has_covariance and reference.has_covariance):
        return math.nan
    count = min(samples.count, reference.count)
    d = len(samples.total)
    if count <= d:
        warnings.warn(
            f"Frechet distance of {count} samples in {d} features: the covariance has no full rank,"
            " values are biased; take more samples",
            stacklevel=2,
        )
    covariance = samples.covariance
    product = reference.root @ covariance @ reference.root
    if not all_finite(product):  # finite moments so large that their product is not
        return math.nan
    # Beyond the rank all eigenvalues are zero. Rounding errors in their place would add up, as the
    # root of 1e-16 is 1e-8, so only the largest ones count.
    # eigvalsh reads one triangle only, and rounding leaves the two unequal: the mean is symmetric.
    eigenvalues = torch.linalg.eigvalsh((product + product.T) / 2)[-min(d, count - 1) :]
    trace_root = eigenvalues.clamp_min(0).sqrt().sum()
    gap = (
        (samples.mean - reference.mean).square().sum()
        + covariance.trace()
        + reference.covariance.trace()
        - 2 * trace_root
    )
    return max(gap.item(), 0.0)  # rounding may put the distance of equal Gaussians below zero


def quiet_distance(samples: Moments, reference: Moments) -> float:
    """The distance without its warning on rank, which ``cautions`` gives once for a whole run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return frechet_distance(samples, reference)
