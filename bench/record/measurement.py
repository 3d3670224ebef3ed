"""One number and what it needs to be understood."""

from __future__ import annotations

from dataclasses import dataclass, fields

LARGEST = 2**63 - 1  # the largest whole number that a table of results can hold


@dataclass(frozen=True)
class Measurement:
    """One number and what it needs to be understood; a field that does not apply is None.

    Attributes:
        metric: what was measured, such as ``fd_classifier`` or ``curvature_fm``.
        value: the number.
        nfe: denoiser evaluations per image.
        rho: exponent of the sigma schedule.
        sampler: ``heun``, ``euler`` or an adaptive one with its tolerance.
        start: where sampling began, such as ``gaussian``.
        guidance: the guidance used, such as ``none``.
        split: the split compared with, ``train`` or ``test``.
        n: number of generated images (or pools) behind the number.
        sigma: noise level, for profiles over sigma.

    """

    metric: str
    value: float
    nfe: int | None = None
    rho: float | None = None
    sampler: str | None = None
    start: str | None = None
    guidance: str | None = None
    split: str | None = None
    n: int | None = None
    sigma: float | None = None

    @property
    def key(self) -> tuple:
        """What the measurement is of: all fields but the value."""
        return tuple(getattr(self, f.name) for f in fields(self) if f.name != "value")
