"""Times of flow matching, from pure noise at t = 1 to the image at t = 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from models.schedules.contract import Schedule, flow_time


@dataclass(frozen=True, kw_only=True)
class Flow(Schedule):
    """Uniform times, shifted to the noise or to the image.

    Options:
        shift: s of t' = s t / (1 + (s - 1) t) (Esser et al. 2024, Eq. 23); 1 is uniform. It
            multiplies every noise level by s: above 1 more steps are at high noise.
    """

    coordinates: ClassVar[str] = "flow"

    shift: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.shift < float("inf"):
            raise ValueError(f"shift {self.shift:g}: it must be above 0 and finite")

    def times(self, steps: int, sigma_min: float, sigma_max: float) -> Tensor:
        if steps < 1:
            raise ValueError(f"{steps} steps: the schedule needs 1 or more")
        # Whole numbers first, so that both ends are met exactly.
        count = torch.arange(steps, -1, -1, dtype=torch.float64, device="cpu")
        uniform = count / steps
        # This form of the shift meets 1 exactly too.
        shifted = self.shift * uniform / (self.shift * uniform + (1 - uniform))
        # A start at a lower noise level has all of its steps between there and the image.
        times = flow_time(sigma_max) * shifted
        if not (times.diff() < 0).all():
            raise ValueError(
                f"shift {self.shift:g}: float64 cannot keep {steps} times apart; take one between"
                " 0.001 and 1000"
            )
        return times
