"""The smoothed transport map as a prior."""

from __future__ import annotations

from dataclasses import dataclass

from models.starts.contract import Map, Targets
from models.starts.expressway import Expressway


@dataclass(frozen=True, kw_only=True)
class OTPrior(Expressway):
    """The gradient of the Brenier potential of noised data, hard or smoothed.

    Wang et al. 2024, Alg. 2. Hard, it is `expressway`: the two papers differ in the level they jump
    to and in the sampler from there.

    Options, in addition to those of `expressway`:
        tau: temperature of the softmax over the targets, in units of the median gap between the
            two best scores, because that gap depends on data and dimension; 0 takes the best
            target only.
    """

    tau: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau < 0:
            raise ValueError(f"{self.name}: tau must be 0 or above, got {self.tau}")

    def place(self, targets: Targets) -> Map:
        return targets.transport(self.project, self.tau)

    @property
    def takes_whole_targets(self) -> bool:
        return self.tau == 0
