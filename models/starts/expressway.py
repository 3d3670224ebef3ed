"""The expressway of DPM-OT: a start from a transport map."""

from __future__ import annotations

from dataclasses import dataclass

from models.starts.contract import Map, Targets
from models.starts.random_index import RandomIndex


@dataclass(frozen=True, kw_only=True)
class Expressway(RandomIndex):
    """The noised target whose cell of the transport map holds the latent (Li et al. 2023).

    With `noise=fresh` the map leads to the clean targets. The released code of DPM-OT takes
    targets=test.

    Options, in addition to those of `random-index`:
        project: `pca:K` finds cells in K principal components of the targets.
    """

    project: str | None = None

    def place(self, targets: Targets) -> Map:
        return targets.transport(self.project)
