"""A sampler setting: sampler, NFE, rho, start and guidance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from bench.record import Measurement


@dataclass(frozen=True)
class Setting:
    """All that images depend on besides the denoiser, the latents and the range of sigma: columns
    of the results.

    Attributes:
        sampler: ``heun``, ``euler``, or ``dopri5:tolerance=...``.
        nfe: denoiser evaluations per image; None before the adaptive sampler has found them.
        rho: exponent of the sigma schedule; None where the sampler chooses its own steps.
        start: where sampling begins.
        guidance: what steers it.

    """

    sampler: str = "heun"
    nfe: int | None = None
    rho: float | None = None
    start: str = "gaussian"
    guidance: str = "none"

    @property
    def name(self) -> str:
        """What tells it from other settings, for a folder: ``heun-nfe13-rho7``."""
        parts = [self.sampler]
        if self.nfe is not None:
            parts.append(f"nfe{self.nfe}")
        if self.rho is not None:
            parts.append(f"rho{self.rho:g}")
        parts += [word for word in (self.start, self.guidance) if word not in ("gaussian", "none")]
        return "-".join(parts).replace(":", "-")

    def row(self, metric: str, value: float = math.nan, **columns: object) -> Measurement:
        """A measurement under this setting."""
        return Measurement(
            metric, value, self.nfe, self.rho, self.sampler, self.start, self.guidance, **columns
        )

    def with_nfe(self, nfe: int) -> Setting:
        """The same with so many evaluations."""
        return replace(self, nfe=nfe)


def tolerance(sampler: str) -> float:
    """The tolerance in the name of an adaptive sampler, such as ``dopri5:tolerance=0.001``."""
    return float(sampler.partition("tolerance=")[2])
