"""The smoothed transport map as a prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from models.starts.expressway import Expressway


@dataclass(frozen=True, kw_only=True)
class OTPrior(Expressway):
    """The gradient of the Brenier potential, hard or smoothed, of noised data (Wang et al. 2024,
    Alg. 2).

    Hard it is `expressway`: the two papers differ in the level they jump to and in how they go on.

    Options, besides those of `expressway`: tau: temperature of the softmax over the targets, in
        units of the median gap between the two best scores,
            because that gap depends on data and dimension; 0 takes the best target alone.
    """

    name: ClassVar[str] = "ot-prior"

    tau: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.tau < 0:
            raise ValueError(f"{self.name}: tau must be 0 or above, got {self.tau}")
