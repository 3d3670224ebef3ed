"""Random pair exchanges: two images swap their noise samples wherever that lowers the cost."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from couplings import swaps
from couplings.contract import Coupling, Pairing, Pool, require


@dataclass(frozen=True, kw_only=True)
class Swap(Coupling):
    """A permutation of low squared L2, without a cost matrix.

    From the pairs as drawn, each pass splits the images into random couples, and a couple exchanges
    its noise samples where that lowers the sum of the two squared distances.

    Larger pools need more passes for the same share of the possible saving.

    Options:
        passes: passes over the pool.
        milliseconds: passes go on for so long instead, one at least, and `passes` does not count.
            The pairs then depend on the speed of the machine: a run cannot be repeated, and a
            resumed one gets other pairs. The report has the passes done.

    Cost: O(n d) time a pass; O(n) memory.

    Source: Sadr and Gorji 2024, "Collision-based dynamics for multi-marginal optimal transport"
    (arXiv 2412.16385).
    """

    deterministic: ClassVar[bool] = False

    passes: int = 50
    milliseconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.passes > 0, f"swap: passes must be above 0, got {self.passes}")
        is_time = self.milliseconds is None or self.milliseconds > 0
        require(is_time, f"swap: milliseconds must be above 0, got {self.milliseconds}")

    def solve(self, pool: Pool) -> Pairing:
        """The permutation after the last pass."""
        require(
            pool.generator is not None,
            "swap draws its exchanges: pass generator=torch.Generator().manual_seed(seed)",
        )
        # The noise is drawn independently of the images, so the pairs as they are are random ones.
        start = torch.arange(len(pool.images), device="cpu")
        index, report = swaps.improve(
            pool.images, pool.noise, start, pool.generator, self.passes, self.milliseconds
        )
        return Pairing(index, report)
