"""What the path of the sampling ODE looks like: curvature, length, turning and the drift of the
denoiser along it.

Each name ends in the time variable, or the coordinates, it is taken in; measures in other variables
rank differently.

========== ============================= =======================================================
           ``sigma``  x against sigma               EDM's own: dx/dsigma = (x - D) / sigma,
           sigma_max to sigma_min ``fm``     z = x / (1 + sigma) against   flow matching: the same
           path between image (t = 0) and noise t = sigma / (1 + sigma)       (t = 1), dz/dt = (x -
           D) / sigma - D
========== ============================= =======================================================

All are taken from the points of one dense path (128 steps or more), one after the other: no tensor
of the images' size is kept but those of the first and of the last point, and one sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

PER_PATH = (
    "curvature_fm",
    "path_excess_fm",
    "path_excess_sigma",
    "turning_angle_fm",
    "turning_angle_sigma",
)
"""Metrics with one value a path; ``summary`` gives their means."""
DRIFT = "denoiser_drift_ln_sigma"
"""The profile: one value for each interval between two noise levels."""


@dataclass(frozen=True)
class Point:
    """A point of a path in one system of coordinates; velocity is the derivative of place by time."""

    time: float
    place: Tensor  # [n, ...]
    velocity: Tensor  # [n, ...]

    @classmethod
    def sigma(cls, sigma: float, x: Tensor, denoised: Tensor) -> Point:
        """From noise level, state x and denoiser output D ``[n, ...]``: x against sigma (Karras et
        al. 2022, Eq. 4).
        """
        return cls(sigma, x, (x - denoised) / sigma)

    @classmethod
    def fm(cls, sigma: float, x: Tensor, denoised: Tensor) -> Point:
        """From the same: z against t."""
        return cls(sigma / (1 + sigma), x / (1 + sigma), (x - denoised) / sigma - denoised)


@dataclass
class Curvature:
    """Mean squared deviation of the velocity from the chord, per dimension (Lee, Kim & Ye 2023; Liu
    et al. 2022).

    int |v - (z_T - z_0) / T|^2 dt / (T d), by the trapezoidal rule: 0 iff the path is straight at
    constant speed. Over the whole of [0, 1], and times d, it is Liu's straightness S.

    With u = v - v_first it keeps int u dt and, per sample, int |u|^2 dt / d. Without that shift the
    curvature of a nearly straight path would drown in the rounding of |v|^2.
    """

    first: Point | None = None
    last: Point | None = None
    area: Tensor | None = None  # [n, ...]
    energy: Tensor | None = None  # [n]

    def add(self, point: Point) -> None:
        """Go on to the next point of the path."""
        if self.first is None:
            self.first, self.area = point, torch.zeros_like(point.place)
            self.energy = point.place.new_zeros(len(point.place))
        else:
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

    first: Point | None = None
    last: Point | None = None
    length: Tensor | None = None  # [n], of the polygon through the points
    # [n], radians: the sum of the angles between successive velocities
    turned: Tensor | None = None

    def add(self, point: Point) -> None:
        """Go on to the next point of the path."""
        if self.first is None:
            self.first, self.length = point, point.place.new_zeros(len(point.place))
            self.turned = self.length.clone()
        else:
            self.length += _norm(point.place - self.last.place)
            self.turned += _angle(self.last.velocity, point.velocity)
        self.last = point

    @property
    def excess(self) -> Tensor:
        """Length over chord, less 1, ``[n]``: 0 iff the path is a straight line, at any speed."""
        return self.length / _norm(self.last.place - self.first.place) - 1


@dataclass
class Tangents:
    """D at some points of the paths of the first samples of a batch.

    x - sigma dx/dsigma = D: where one Euler step would end from there. All alike along a row means
    a straight path.
    """

    rows: int
    points: list[int]  # which points, counted from 0
    seen: int = 0
    kept: list[Tensor] | None = None

    @classmethod
    def evenly(cls, rows: int, columns: int, points: int) -> Tangents:
        """As many columns evenly over a path's points, both ends among them; fewer where it has
        fewer points.
        """
        places = torch.linspace(
            0, points - 1, min(columns, points), dtype=torch.float32, device="cpu"
        )
        return cls(rows, places.round().long().tolist())

    def add(self, denoised: Tensor) -> None:
        """Go on to the next point of the paths."""
        if self.seen in self.points:
            self.kept = [*(self.kept or []), denoised[: self.rows].float()]
        self.seen += 1

    @property
    def images(self) -> Tensor:
        """``[rows, columns, ...]`` float32, from noise to image."""
        return torch.stack(self.kept, dim=1)


class Path:
    """Observer for a sampler: measures the path as it goes along, for every sample of a batch."""

    def __init__(self, tangents: Tangents | None = None) -> None:
        self.tangents = tangents
        self.curvature_fm, self.shape_fm, self.shape_sigma = Curvature(), Shape(), Shape()
        self.last: tuple[float, Tensor] | None = None  # ln sigma, D
        self.drift: list[Tensor] = []

    def __call__(self, sigma: float, x: Tensor, denoised: Tensor) -> None:
        """Observe one point of the path: state and denoiser output ``[n, ...]``."""
        point = Point.fm(sigma, x, denoised)
        self.curvature_fm.add(point)
        self.shape_fm.add(point)
        self.shape_sigma.add(Point.sigma(sigma, x, denoised))
        now = (math.log(sigma), denoised)
        if self.last:
            self.drift.append(_mean(((now[1] - self.last[1]) / (now[0] - self.last[0])).square()))
        self.last = now
        if self.tangents:
            self.tangents.add(denoised)

    def per_sample(self) -> dict[str, Tensor]:
        """Each metric for every sample: ``PER_PATH`` ``[n]``, and ``DRIFT``, squared, ``[n, points
        - 1]``.

        With tangents, also ``tangents`` ``[rows, columns, ...]`` float32, of the first samples
        alone.
        """
        found = {
            "curvature_fm": self.curvature_fm.value,
            "path_excess_fm": self.shape_fm.excess,
            "path_excess_sigma": self.shape_sigma.excess,
            "turning_angle_fm": self.shape_fm.turned,
            "turning_angle_sigma": self.shape_sigma.turned,
            DRIFT: torch.stack(self.drift, dim=1),
        }
        return found | ({"tangents": self.tangents.images} if self.tangents else {})


def summary(
    per_sample: dict[str, Tensor], sigmas: list[float]
) -> dict[tuple[str, float | None], float]:
    """Values by metric and noise level, over all samples: means of ``PER_PATH``, root mean squares
    of ``DRIFT``.

    The drift is ||dD / d ln sigma|| / sqrt(d), by differences between successive points of the
    path, so it belongs to the levels between them, ``drift_sigmas``. D is constant along the path
    iff x is straight at constant speed in sigma: d^2x/dsigma^2 = -(1/sigma) dD/dsigma. One Euler
    step of h at sigma therefore errs by h^2 / (2 sigma^2) times the drift, to leading order: EDM's
    local truncation error (Karras et al. 2022, Sec. 3).
    """
    means = {(name, None): per_sample[name].mean().item() for name in PER_PATH}
    profile = per_sample[DRIFT].mean(0).sqrt().tolist()
    return means | {(DRIFT, sigma): value for sigma, value in zip(sigmas, profile, strict=True)}


def drift_sigmas(levels: Tensor) -> list[float]:
    """The levels the drift belongs to: geometric means of neighbours among the levels ``[points]``
    of a path.
    """
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
    a, b = a.flatten(1), b.flatten(1)
    p, q = a * b.norm(dim=1, keepdim=True), b * a.norm(dim=1, keepdim=True)
    return 2 * torch.atan2((p - q).norm(dim=1), (p + q).norm(dim=1))
