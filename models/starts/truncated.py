"""Starts at a lower sigma, from noised targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from models.views import View, sigma_of


@dataclass(frozen=True, kw_only=True)
class Truncated:
    """Unit noise at a level below the highest, where the data has left a trace that the noise
    lacks.

    Options:
        sigma: the level.
        step: the level as a step T' of another paper's schedule, instead of sigma.
        view: whose steps; see `models.views`.
    """

    name: ClassVar[str] = "truncated"

    sigma: float | None = None
    step: int | None = None
    view: View = "ddpm"

    def __post_init__(self):
        if (self.sigma is None) == (self.step is None):
            raise ValueError(f"{self.name} needs sigma or step, one of them: {self.name}:sigma=0.5")
        if not self.level() > 0:
            raise ValueError(f"{self.name}: sigma must be above 0, got {self.sigma}")

    def level(self, sigma_max: float = float("inf")) -> float:
        """The level where sampling begins.

        Raises:
            ValueError: above ``sigma_max``, or no such step.

        """
        sigma = self.sigma if self.step is None else sigma_of(self.view, self.step)
        if sigma > sigma_max:
            raise ValueError(
                f"{self.name} at sigma {sigma:g}: sampling begins at {sigma_max:g} at most"
            )
        return sigma
