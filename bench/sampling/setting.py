"""A sampler setting: sampler, NFE, rho, start and guidance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from bench.record import Measurement
from bench.sampling import samplers
from models.samplers.contract import Sampler


@dataclass(frozen=True)
class Setting:
    """Columns of the results that images depend on.

    The denoiser, the latents and the range of sigma are the same for all settings of a run.

    Attributes:
        sampler: canonical spec, such as ``heun`` or ``dopri5:tolerance=0.0001``.
        nfe: denoiser evaluations per image; None until an adaptive sampler has been run.
        rho: exponent of the sigma schedule; None if the sampler chooses its own steps.
        start: spec of the start, ``gaussian`` for pure noise.
        guidance: label of the guidance, ``none`` without.

    """

    sampler: str = "heun"
    nfe: int | None = None
    rho: float | None = None
    start: str = "gaussian"
    guidance: str = "none"

    @property
    def solver(self) -> Sampler:
        """The sampler itself."""
        return samplers.parse(self.sampler)

    @property
    def fixed_steps(self) -> bool:
        """True if the sampler follows a schedule, so that its NFE is known beforehand."""
        return self.solver.fixed_steps

    @property
    def solves_the_ode(self) -> bool:
        """True if the sampler solves the equation that the dense reference solves."""
        return self.solver.solves_the_ode

    @property
    def is_plain(self) -> bool:
        """True without a start of its own and without guidance."""
        return self.start == "gaussian" and self.guidance == "none"

    @property
    def name(self) -> str:
        """Name of a folder for this setting, different for each: ``heun-nfe13-rho7``."""
        parts = [self.sampler]
        if self.nfe is not None:
            parts.append(f"nfe{self.nfe}")
        # An adaptive sampler has no schedule.
        if self.rho is not None:
            parts.append(f"rho{self.rho:g}")
        if self.start != "gaussian":
            parts.append(self.start)
        if self.guidance != "none":
            parts.append(self.guidance)
        # A colon cannot be part of a file name everywhere.
        return "-".join(parts).replace(":", "-")

    def row(self, metric: str, value: float = math.nan, **columns: Any) -> Measurement:
        """Make a measurement under this setting."""
        return Measurement(
            metric, value, self.nfe, self.rho, self.sampler, self.start, self.guidance, **columns
        )

    def with_nfe(self, nfe: int) -> Setting:
        """Replace the number of evaluations."""
        return replace(self, nfe=nfe)
