"""Random pairing: the baseline of every comparison, and a placebo for it."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from couplings.contract import Coupling, Pairing, Pool, require

_FIRST = 0x9E3779B97F4A7C15  # of the seeds of the draws


@dataclass(frozen=True, kw_only=True)
class Random(Coupling):
    """Pairs as they were drawn: image i keeps noise i.

    The pairs are independent if the noise was drawn so; nothing is drawn here.

    Options:
        draw: other than 0 it is a placebo: it permutes the noise samples of the pool by a stream of
            its own, so that random pairing can be compared with itself. It shares all else with
            `random`, as other couplings do, and any claim about it is a wrong one.

    Cost: none.

    Source: the usual training of diffusion models, such as Karras et al. 2022 (arXiv 2206.00364).
    """

    independent: ClassVar[bool] = True

    draw: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.draw >= 0, f"random: draw must be 0 or more, got {self.draw}")

    def solve(self, pool: Pool) -> Pairing:
        """The identity, or the permutation of the draw."""
        n = len(pool.images)
        if not self.draw:
            # A random permutation would cost time and leave the law of the pairs as it is.
            return Pairing(torch.arange(n, device=pool.images.device))
        require(
            pool.generator is not None,
            f"{self} draws a permutation: pass generator=torch.Generator()",
        )
        # One number of the pool's stream and the draw: draws differ, and so do pools.
        seed = int(torch.randint(2**62, (), generator=pool.generator))
        stream = torch.Generator().manual_seed((seed + self.draw * _FIRST) % 2**63)
        return Pairing(torch.randperm(n, generator=stream))
