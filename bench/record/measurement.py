"""A measurement: one number, and the settings it was measured with."""

from __future__ import annotations

from dataclasses import dataclass, fields

LARGEST = 2**63 - 1  # the largest whole number that a table of results can hold


@dataclass(frozen=True)
class Measurement:
    """One number, and the settings it was measured with; a field that does not apply is None.

    Attributes:
        metric: name of the metric, such as ``fd_classifier`` or ``curvature_fm``.
        value: the number.
        nfe: evaluations of the network per image.
        rho: exponent of Karras' schedule.
        sampler: ``heun``, ``euler`` or an adaptive one with its tolerance.
        start: the start of sampling, such as ``gaussian``.
        guidance: the guidance used, such as ``none`` or ``cfg:weight=2``.
        split: the split compared with, ``train`` or ``test``.
        n: number of images (or pools) the value was computed from.
        sigma: noise level, for profiles over sigma.
        schedule: canonical spec of the schedule with its parameter, such as ``karras:rho=7`` or
            ``flow:shift=3``; ``flow`` for an adaptive sampler in flow coordinates. Rows of earlier
            versions have a rho and no schedule: theirs is Karras' with that rho.

    """

    # The order of the fields is that of the keys in evaluation.json: add new ones at the end.
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
    schedule: str | None = None

    @property
    def key(self) -> tuple:
        """All fields but the value: two measurements of one key are the same one, made twice."""
        return tuple(getattr(self, f.name) for f in fields(self) if f.name != "value")
