"""The interface of schedules: the times at which a sampler evaluates the denoiser."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from models.naming import Named


class Schedule(Named, ABC):
    """Base of schedules: a frozen dataclass whose fields, at most one a number, are its options.

    Attributes:
        coordinates: those of the ODE that it has times of, ``sigma`` for x against sigma or
            ``flow`` for z against t; see ``models.ode``.

    """

    coordinates: ClassVar[str] = "sigma"

    @abstractmethod
    def times(self, steps: int, sigma_min: float, sigma_max: float) -> Tensor:
        """Compute falling times ``[steps + 1]`` in float64 that end with 0.

        Args:
            steps: of the sampler.
            sigma_min: lowest noise level of the run.
            sigma_max: noise level of the start; infinite for pure noise in flow coordinates.

        Raises:
            ValueError: no such schedule; the message names the way out.

        """

    @property
    def spec(self) -> str:
        """Spelling in the results, with all options: ``karras:rho=7``."""
        options = []
        # Any: a frozen dataclass, which the base class does not say.
        own: Any = self
        for field in fields(own):
            value = getattr(self, field.name)
            # 7 rather than 7.0, whatever it was given as.
            whole = isinstance(value, float) and value.is_integer()
            options.append(f"{field.name}={int(value) if whole else value}")
        return f"{self.name}:{','.join(options)}" if options else self.name

    @property
    def parameter(self) -> float:
        """Value of the option that is searched; 0 for a schedule without a number."""
        own: Any = self
        for field in fields(own):
            value = getattr(self, field.name)
            if isinstance(value, float):
                return value
        return 0.0


def flow_time(sigma: float) -> float:
    """Compute the time of flow matching at a noise level; 1 if it is infinite."""
    return 1.0 if sigma == float("inf") else sigma / (1 + sigma)


def ends(schedule: Schedule, sigma_min: float, sigma_max: float) -> Tensor:
    """Times (first, last above 0, 0) for a sampler that chooses its own steps, in float64."""
    # Both are noise levels of the run, whatever the schedule counts in.
    if schedule.coordinates == "flow":
        sigma_min = flow_time(sigma_min)
        sigma_max = flow_time(sigma_max)
    return torch.tensor([sigma_max, sigma_min, 0.0], dtype=torch.float64, device="cpu")
