"""A sampler setting: sampler, NFE, schedule, start and guidance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from bench.record import Measurement
from bench.record.specs import cfg_weight
from bench.sampling import samplers, schedules
from models.classifier_free import network_evaluations
from models.samplers.contract import Sampler
from models.schedules.contract import Schedule
from models.schedules.karras import Karras


@dataclass(frozen=True)
class Setting:
    """Columns of the results that images depend on.

    The denoiser and the range of sigma are the same for all settings of a run. So are the latents,
    except those of the search for the best schedule.

    Attributes:
        sampler: canonical spec, such as ``heun`` or ``dopri5:tolerance=0.0001``.
        nfe: evaluations of the network per image; None until an adaptive sampler has been run.
        rho: exponent of Karras' schedule; None on another one, or if the sampler chooses its own
            steps.
        start: spec of the start, ``gaussian`` for pure noise.
        guidance: label of the guidance, such as ``cfg:weight=2``; ``none`` without.
        schedule: spec of a schedule other than Karras', such as ``flow:shift=1``; of a sampler
            that chooses its own steps, the one whose coordinates it integrates in.
        search: True for samples of the search for the best schedule, which have latents of their
            own: a schedule that is chosen on latents looks too good on the same ones.

    """

    sampler: str = "heun"
    nfe: int | None = None
    rho: float | None = None
    start: str = "gaussian"
    guidance: str = "none"
    schedule: str | None = None
    search: bool = False

    @classmethod
    def along(cls, spec: str, sampler: str, nfe: int | None, **more: Any) -> Setting:
        """Make the setting of a sampler along the schedule of a canonical spec."""
        schedule = schedules.parse(spec)
        adaptive = not samplers.parse(sampler).fixed_steps
        if isinstance(schedule, Karras):
            # The column rho says it all.
            return cls(sampler, nfe, None if adaptive else schedule.rho, **more)
        # Steps are the sampler's own, so the options of the schedule mean nothing.
        return cls(sampler, nfe, None, schedule=schedule.name if adaptive else spec, **more)

    @property
    def plan(self) -> Schedule:
        """The schedule itself."""
        if self.schedule is not None:
            return schedules.parse(self.schedule)
        return Karras() if self.rho is None else Karras(rho=self.rho)

    @property
    def column(self) -> str | None:
        """Spec of the schedule as it stands in the results; None without one."""
        return self.plan.spec if self.schedule is None and self.rho is not None else self.schedule

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
    def uses_discriminator(self) -> bool:
        """True if a discriminator guides the sampling."""
        return cfg_weight(self.guidance) is None

    @property
    def cfg(self) -> float:
        """Weight of classifier-free guidance; 1 is the denoiser as it is."""
        weight = cfg_weight(self.guidance)
        return 1.0 if weight is None else weight

    @property
    def steps(self) -> int:
        """Steps of the sampler.

        Raises:
            ValueError: no number of steps takes ``nfe`` evaluations.

        """
        assert self.nfe is not None, "an adaptive sampler chooses its steps"
        # A sampler evaluates the guided denoiser, and each of these takes two of the network.
        return self.solver.steps(self.nfe // network_evaluations(self.cfg))

    @property
    def name(self) -> str:
        """Name of a folder for this setting, different for each: ``heun-nfe13-rho7``."""
        parts = ["search", self.sampler] if self.search else [self.sampler]
        if self.nfe is not None:
            parts.append(f"nfe{self.nfe}")
        # An adaptive sampler has no schedule.
        if self.rho is not None:
            parts.append(f"rho{self.rho:g}")
        if self.schedule is not None:
            parts.append(self.schedule)
        if self.start != "gaussian":
            parts.append(self.start)
        if self.guidance != "none":
            parts.append(self.guidance)
        # A colon cannot be part of a file name everywhere.
        return "-".join(parts).replace(":", "-")

    def row(self, metric: str, value: float = math.nan, **columns: Any) -> Measurement:
        """Make a measurement under this setting."""
        return Measurement(
            metric,
            value,
            self.nfe,
            self.rho,
            self.sampler,
            self.start,
            self.guidance,
            schedule=self.column,
            **columns,
        )

    def with_nfe(self, nfe: int) -> Setting:
        """Replace the number of evaluations."""
        return replace(self, nfe=nfe)
