"""The expressway of DPM-OT: a start from a transport map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from models.starts.random_index import RandomIndex


@dataclass(frozen=True, kw_only=True)
class Expressway(RandomIndex):
    """The noised target in whose cell of the transport map the latent lies (DPM-OT, Li et al.
    2023).

    With `noise=fresh` the map is that to the clean targets. The released code of DPM-OT takes
    targets=test.

    Options, besides those of `random-index`:
        project: `pca:K` finds cells in K principal components of the targets.
    """

    name: ClassVar[str] = "expressway"

    project: str | None = None
