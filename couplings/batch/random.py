"""Independent pairing, the baseline every coupling is compared with."""

from dataclasses import dataclass

import torch

from couplings.contract import Coupling, Pairing, Pool


@dataclass(frozen=True, kw_only=True)
class Independent(Coupling):
    """Pairs as they were drawn: image i keeps noise i, an independent pair when the noise was drawn
    so.
    """

    def solve(self, pool: Pool) -> Pairing:
        """The identity."""
        return Pairing(torch.arange(len(pool.images), device=pool.images.device))
