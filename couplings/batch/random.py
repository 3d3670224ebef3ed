"""Independent pairing, the baseline that every coupling is compared with."""

from dataclasses import dataclass

import torch

from couplings.contract import Coupling, Pairing, Pool


@dataclass(frozen=True, kw_only=True)
class Random(Coupling):
    """Pairs as they were drawn: image i keeps noise i.

    The pairs are independent if the noise was drawn so; nothing is drawn here.
    """

    def solve(self, pool: Pool) -> Pairing:
        """The identity."""
        # A random permutation would cost time and leave the law of the pairs as it is.
        return Pairing(torch.arange(len(pool.images), device=pool.images.device))
