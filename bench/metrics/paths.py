"""Shape of the paths of the sampling ODE: curvature, length, turning, drift of the denoiser.

Each name ends in the time variable, or the coordinates, that it is taken in; measures in other
variables rank differently.

``sigma``: x against sigma, EDM's own; dx/dsigma = (x - D) / sigma. From sigma_max to sigma_min
along Karras' schedule; along a flow schedule from its first finite level, which depends on the
number of steps: such values are not comparable with those of Karras' schedule.
``fm``: z = x / (1 + sigma) against t = sigma / (1 + sigma), the flow-matching path between image
(t = 0) and noise (t = 1); dz/dt = (x - D) / sigma - D.

All are taken from the points of one dense path (128 steps or more), one after the other. No tensor
of the images' size is kept except those of the first and of the last point, and one sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from bench.metrics.contract import PathMetric, Point, Profile, Subject
from bench.record.infos import Info

PER_PATH = (
    "curvature_fm",
    "path_excess_fm",
    "path_excess_sigma",
    "turning_angle_fm",
    "turning_angle_sigma",
)
"""Metrics with one value a path; their means are recorded."""
DRIFT = "denoiser_drift_ln_sigma"
"""The profile: one value for each interval between two noise levels."""


# The terminal shows curvature only: these say nearly the same of a path.
_of_path = partial(Info, better="lower", per="run", kind="path", figure=False, terminal=False)


@dataclass(frozen=True)
class Place:
    """A point of a path in some coordinates; velocity is the derivative of place by time."""

    time: float
    place: Tensor  # [n, ...]
    velocity: Tensor  # [n, ...]

    @classmethod
    def sigma(cls, point: Point) -> Place:
        """State x against sigma (Karras et al. 2022, Eq. 4)."""
        return cls(point.sigma, point.x, (point.x - point.denoised) / point.sigma)

    @classmethod
    def fm(cls, point: Point) -> Place:
        """State z against t."""
        return cls(point.t, point.z, point.velocity)


@dataclass
class Curvature:
    """Mean squared deviation of the velocity from the chord, per dimension (Lee, Kim & Ye 2023; Liu
    et al. 2022).

    int |v - (z_T - z_0) / T|^2 dt / (T d), by the trapezoidal rule: 0 iff the path is straight at
    constant speed. Over the whole of [0, 1], and times d, it is Liu's straightness S.

    With u = v - v_first it keeps int u dt and, per sample, int |u|^2 dt / d. Without that shift the
    curvature of a nearly straight path would drown in the rounding of |v|^2.
    """

    first: Place | None = None
    last: Place | None = None
    area: Tensor | None = None  # [n, ...]
    energy: Tensor | None = None  # [n]

    def add(self, point: Place) -> None:
        """Add the next point of the path."""
        if self.first is None:
            self.first = point
            self.area = torch.zeros_like(point.place)
            self.energy = point.place.new_zeros(len(point.place))
        else:
            # Below 0, as time falls along the path. So is the duration that the sum is divided by.
            half = (point.time - self.last.time) / 2
            for velocity in (self.last.velocity, point.velocity):
                shifted = velocity - self.first.velocity
                self.area += half * shifted
                self.energy += half * _mean(shifted.square())
        self.last = point

    @property
    def value(self) -> Tensor:
        """Curvature of every sample's path, ``[n]``.

        |v - c|^2 = |u|^2 - 2 u (c - v_first) + |c - v_first|^2 with the chord c; the last two need
        only int u dt.
        """
        duration = self.last.time - self.first.time
        chord = (self.last.place - self.first.place) / duration - self.first.velocity
        return self.energy / duration + _mean(chord * (chord - 2 * self.area / duration))


@dataclass
class Shape:
    """Length and turning of a path: its geometry, whatever the speed along it."""

    first: Place | None = None
    last: Place | None = None
    length: Tensor | None = None  # [n], of the polygon through the points
    # [n], radians: the sum of the angles between successive velocities
    turned: Tensor | None = None

    def add(self, point: Place) -> None:
        """Add the next point of the path."""
        if self.first is None:
            self.first = point
            self.length = point.place.new_zeros(len(point.place))
            # Without the clone both names would hold one tensor, and += adds to it in place.
            self.turned = self.length.clone()
        else:
            self.length += _norm(point.place - self.last.place)
            self.turned += _angle(self.last.velocity, point.velocity)
        self.last = point

    @property
    def excess(self) -> Tensor:
        """Length over chord, less 1, ``[n]``: 0 iff the path is a straight line, at any speed."""
        return self.length / _norm(self.last.place - self.first.place) - 1


class Paths(PathMetric):
    """Measures the path of every sample of a batch while a sampler follows it."""

    infos = (
        Info(
            "curvature_fm",
            "Mean squared departure of the velocity from the straight line, in flow-matching time;"
            " 0 is straight.",
            "lower",
            per="run",
            kind="path",
            title="Path curvature",
            place=40,
        ),
        _of_path(
            "path_excess_fm",
            "Length of the path over its chord, less 1, in flow-matching coordinates; 0 is"
            " straight.",
            title="Path length excess",
            place=41,
        ),
        _of_path(
            "path_excess_sigma",
            "Length of the path over its chord, less 1, in EDM's coordinates (x over sigma); small,"
            " because most of that length is noise.",
            title="Path length excess, EDM coordinates",
            place=42,
        ),
        _of_path(
            "turning_angle_fm",
            "Radians that the velocity turns along the path, in flow-matching coordinates; 0 is"
            " straight.",
            title="Turning angle",
            place=43,
        ),
        _of_path(
            "turning_angle_sigma",
            "Radians that the velocity turns along the path, in EDM's coordinates (x over sigma).",
            title="Turning angle, EDM coordinates",
            place=44,
        ),
        Info(
            DRIFT,
            "How fast the denoiser's output changes along the path: root mean square per pixel and"
            " unit of ln sigma, for each sigma; 0 is straight.",
            "lower",
            per="sigma",
            kind="path",
            title="Change of the denoiser output along the path",
            place=45,
        ),
    )
    stored: ClassVar[tuple[str, ...]] = (*PER_PATH, DRIFT)

    def __init__(self) -> None:
        self.curvature_fm = Curvature()
        self.shape_fm = Shape()
        self.shape_sigma = Shape()
        self.last: tuple[float, Tensor] | None = None  # ln sigma, D
        self.drift: list[Tensor] = []

    def __call__(self, point: Point) -> None:
        """Observe one point of the path."""
        in_flow = Place.fm(point)
        self.curvature_fm.add(in_flow)
        self.shape_fm.add(in_flow)
        # Pure noise has no place in EDM's coordinates, where it is infinitely far away.
        if math.isinf(point.sigma):
            return
        self.shape_sigma.add(Place.sigma(point))
        ln_sigma = math.log(point.sigma)
        if self.last is not None:
            last_ln_sigma, last_denoised = self.last
            slope = (point.denoised - last_denoised) / (ln_sigma - last_ln_sigma)
            # Squared, because the root is taken only of the mean over all samples.
            self.drift.append(_mean(slope.square()))
        self.last = (ln_sigma, point.denoised)

    def per_sample(self) -> dict[str, Tensor]:
        """Each metric for every sample: ``PER_PATH`` ``[n]``, and ``DRIFT``, squared, ``[n, points
        - 1]``.
        """
        return {
            "curvature_fm": self.curvature_fm.value,
            "path_excess_fm": self.shape_fm.excess,
            "path_excess_sigma": self.shape_sigma.excess,
            "turning_angle_fm": self.shape_fm.turned,
            "turning_angle_sigma": self.shape_sigma.turned,
            DRIFT: torch.stack(self.drift, dim=1),
        }

    @classmethod
    def values(cls, per_sample: dict[str, Tensor], levels: Tensor, subject: Subject) -> Profile:
        """Means over all samples, see ``summary``."""
        return summary(per_sample, drift_sigmas(levels))


def summary(per_sample: dict[str, Tensor], sigmas: list[float]) -> Profile:
    """Means of ``PER_PATH`` and root mean squares of ``DRIFT``, by metric and noise level.

    The drift is ||dD / d ln sigma|| / sqrt(d), by differences between successive points of the
    path, so it belongs to the levels between them, ``drift_sigmas``. D is constant along the path
    iff x is straight at constant speed in sigma: d^2x/dsigma^2 = -(1/sigma) dD/dsigma. One Euler
    step of h at sigma therefore errs by h^2 / (2 sigma^2) times the drift, to leading order: EDM's
    local truncation error (Karras et al. 2022, Sec. 3).
    """
    values: Profile = {}
    for name in PER_PATH:
        values[name, None] = per_sample[name].mean().item()
    profile = per_sample[DRIFT].mean(0).sqrt().tolist()
    for sigma, value in zip(sigmas, profile, strict=True):
        values[DRIFT, sigma] = value
    return values


def drift_sigmas(levels: Tensor) -> list[float]:
    """The levels that the drift belongs to: geometric means of neighbours among the levels
    ``[points]`` of a path; an infinite one has none.
    """
    levels = levels[levels.isfinite()]
    return (levels[1:] * levels[:-1]).sqrt().tolist()


def _mean(x: Tensor) -> Tensor:
    """Mean over all dimensions but the first: ``[n, ...]`` to ``[n]``."""
    return x.flatten(1).mean(1)


def _norm(x: Tensor) -> Tensor:
    """Euclidean norm over all dimensions but the first: ``[n, ...]`` to ``[n]``."""
    return x.flatten(1).norm(dim=1)


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle between vectors ``[n, ...]``, in radians ``[n]``; exact near 0, where an arc cosine is
    not (Kahan 2006).
    """
    a = a.flatten(1)
    b = b.flatten(1)
    # Scaled to the same length, their sum and difference are the diagonals of a rhombus.
    p = a * b.norm(dim=1, keepdim=True)
    q = b * a.norm(dim=1, keepdim=True)
    return 2 * torch.atan2((p - q).norm(dim=1), (p + q).norm(dim=1))
