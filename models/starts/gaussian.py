"""The usual start: pure noise at sigma_max."""

from __future__ import annotations

from dataclasses import dataclass

from models.starts.contract import Start


@dataclass(frozen=True, kw_only=True)
class Gaussian(Start):
    """Unit noise at the highest level: the full sampler."""

    def level(self, sigma_max: float = float("inf")) -> float:
        return sigma_max
