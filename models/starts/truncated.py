"""A start from pure noise at a lower level."""

from __future__ import annotations

from dataclasses import dataclass

from models.starts.contract import Start
from models.views import View, sigma_of


@dataclass(frozen=True, kw_only=True)
class Truncated(Start):
    """Unit noise at a level below the highest: noised data have a trace there that noise lacks.

    Options:
        sigma: the level.
        step: the level as a step T' of another paper's schedule, instead of sigma.
        view: schedule that the steps are of; see `models.views`.
    """

    sigma: float | None = None
    step: int | None = None
    view: View = "ddpm"

    def __post_init__(self) -> None:
        if (self.sigma is None) == (self.step is None):
            raise ValueError(f"{self.name} needs sigma or step, one of them: {self.name}:sigma=0.5")
        # sigma_max is the run's and not known yet: any level above 0 passes here.
        if not self.level() > 0:
            raise ValueError(f"{self.name}: sigma must be above 0, got {self.sigma}")

    def level(self, sigma_max: float = float("inf")) -> float:
        sigma = self.sigma if self.step is None else sigma_of(self.view, self.step)
        if sigma > sigma_max:
            raise ValueError(
                f"{self.name} at sigma {sigma:g}: sampling begins at {sigma_max:g} at most"
            )
        return sigma
