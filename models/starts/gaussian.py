"""The usual start: pure noise at sigma_max."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """Unit noise at the highest level: the full sampler."""

    name: ClassVar[str] = "gaussian"

    def level(self, sigma_max: float) -> float:
        """The level where sampling begins."""
        return sigma_max
