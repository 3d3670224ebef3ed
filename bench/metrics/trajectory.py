"""What the path of the sampling ODE looks like: curvature in flow-matching coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Point:
    """A point of the path in flow-matching coordinates.

    With t = sigma / (1 + sigma) and z = x / (1 + sigma) the EDM path becomes one between image (t = 0) and noise
    (t = 1), and dz/dt = (x - D) / sigma - D.
    """

    t: float
    z: Tensor  # [n, ...]
    velocity: Tensor  # [n, ...]

    @classmethod
    def of(cls, sigma: float, x: Tensor, denoised: Tensor) -> Point:
        """The point with noise level sigma, state x and denoiser output D, both ``[n, ...]``."""
        return cls(sigma / (1 + sigma), x / (1 + sigma), (x - denoised) / sigma - denoised)


@dataclass
class Path:
    """Observer for a sampler: integrates along the path; memory does not grow with the number of its points.

    With u = v - v_first it keeps the trapezoidal int u dt and, per sample, int |u|^2 dt / d. Without that shift the
    curvature of a nearly straight path would drown in the rounding of |v|^2.
    """

    first: Point | None = None
    last: Point | None = None
    area: Tensor | None = None  # [n, ...]
    energy: Tensor | None = None  # [n]

    def __call__(self, sigma: float, x: Tensor, denoised: Tensor) -> None:
        """Observe one point of the path."""
        point = Point.of(sigma, x, denoised)
        if self.first is None:
            self.first, self.area, self.energy = point, torch.zeros_like(x), x.new_zeros(len(x))
        else:
            half = (point.t - self.last.t) / 2
            for velocity in (self.last.velocity, point.velocity):
                shifted = velocity - self.first.velocity
                self.area += half * shifted
                self.energy += half * _mean(shifted.square())
        self.last = point

    @property
    def curvature(self) -> Tensor:
        """Curvature of every sample's path, ``[n]``; see ``curvature_fm``.

        |v - c|^2 = |u|^2 - 2 u (c - v_first) + |c - v_first|^2 with the chord c; the last two need only int u dt.
        """
        duration = self.last.t - self.first.t
        chord = (self.last.z - self.first.z) / duration - self.first.velocity
        return self.energy / duration + _mean(chord * (chord - 2 * self.area / duration))


def curvature_fm(path: Path) -> float:
    """Mean squared deviation of the velocity from the chord, per dimension (Lee, Kim & Ye 2023; Liu et al. 2022).

    E int |dz/dt - (z_T - z_0) / T|^2 dt / (T d) over flow-matching time t, by the trapezoidal rule: 0 iff the path is
    straight at constant speed. The path should be dense (128 steps or more).
    """
    return path.curvature.mean().item()


def _mean(x: Tensor) -> Tensor:
    """Mean over all dimensions but the first: ``[n, ...]`` to ``[n]``."""
    return x.flatten(1).mean(1)
