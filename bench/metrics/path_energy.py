"""Energy of the sampling paths: the mean squared velocity in flow-matching time.

E int_0^1 |dz/dt|^2 dt with z = x / (1 + sigma) and t = sigma / (1 + sigma), summed over the
coordinates, from the noise sample at t = 1 to the image at t = 0. Benamou and Brenier (2000): it is
at least the squared W2 distance between the noise and what is generated, and equal to it only along
the optimal transport map.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from bench.data import Dataset
from bench.metrics.contract import PathMetric, Point, Profile, Subject
from bench.metrics.w2 import in_the_plane
from bench.record.infos import Info
from bench.sampling.setting import Setting

STORED = "path_energy"


class PathEnergy(PathMetric):
    """Energy of the dense paths and, for points in the plane, of those that each sampler takes.

    Both are the energy of the polygon through the points of the path, sum |z' - z|^2 / |t' - t|:
    each step at the constant velocity that leads from its start to its end.

    - ``path_energy``, one value per run: of the dense reference, whose polygon is as good as the
      path.
    - ``sampler_path_energy``, one value per setting: of the sampler's own steps. For Euler's method
      along the uniform flow schedule it is the mean of |v|^2 over the steps, the quantity of
      published tables (Tong et al. 2024, "Simulation-free Schrodinger bridges", Table 2).

    A path that begins below t = 1, as along Karras' schedule, begins at the noise sample times t:
    the ray from the noise sample to that point is part of the polygon.
    """

    infos = (
        Info(
            "path_energy",
            "Squared velocity of the dense paths in flow-matching time, summed over coordinates; at"
            " least the squared W2 distance between noise and samples.",
            "lower",
            per="run",
            kind="path",
            figure=False,
            terminal=False,
            title="Path energy",
            place=46,
        ),
        Info(
            "sampler_path_energy",
            "Squared velocity in flow-matching time along the path that the sampler takes in its"
            " steps, summed over coordinates.",
            "lower",
            kind="path",
            figure=False,
            title="Path energy of the sampler",
            place=48,
        ),
    )
    stored: ClassVar[tuple[str, ...]] = (STORED,)

    def __init__(self) -> None:
        self.total: Tensor | None = None  # [n]
        self.place: Tensor | None = None  # z of the last point, [n, ...]
        self.time = 1.0  # t of the last point

    @classmethod
    def watches(cls, dataset: Dataset, setting: Setting) -> bool:
        """True for plain samplers of the ODE that follow a schedule, in the plane."""
        return (
            in_the_plane(dataset)
            and setting.is_plain
            and setting.solves_the_ode
            and setting.fixed_steps
        )

    def __call__(self, point: Point) -> None:
        """Observe the next point of the path."""
        if self.total is None:
            # The noise sample, at t = 1, from which the sampler's start was scaled.
            self.place = point.z / point.t
            self.total = point.z.new_zeros(len(point.z))
        self._add(point.z, point.t)

    def end(self, images: Tensor) -> None:
        """Observe the images ``[n, ...]`` that the paths end at."""
        if self.total is not None:
            self._add(images.to(self.total), 0.0)

    def per_sample(self) -> dict[str, Tensor]:
        """Energy of every path, ``[n]``; nothing of a sampler that shows no points."""
        return {} if self.total is None else {STORED: self.total}

    @classmethod
    def values(cls, per_sample: dict[str, Tensor], levels: Tensor, subject: Subject) -> Profile:
        """Mean over the dense paths."""
        return {("path_energy", None): mean_energy(per_sample)}

    @classmethod
    def values_at(cls, per_sample: dict[str, Tensor], subject: Subject) -> dict[str, float]:
        """Mean over the paths of a sampler."""
        return {"sampler_path_energy": mean_energy(per_sample)}

    def _add(self, place: Tensor, time: float) -> None:
        """Add the segment from the last point to this one."""
        # A path that begins at t = 1 has no ray before its first point.
        if time < self.time:
            squares = (place - self.place).flatten(1).square().sum(1)
            self.total = self.total + squares / (self.time - time)
        self.place = place
        self.time = time


def mean_energy(per_sample: dict[str, Tensor]) -> float:
    """Mean energy over all samples."""
    return per_sample[STORED].to(torch.float64).mean().item()
