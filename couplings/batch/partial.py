"""Partial optimal transport: the cheapest share of the pool is paired, the rest at random."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from couplings.contract import Coupling, Pairing, Pool, require
from couplings.cost import squared_distances, squared_distances_bytes
from couplings.plan import LARGEST_ASSIGNMENT, pairing_from_plan


@dataclass(frozen=True, kw_only=True)
class Partial(Coupling):
    """Transport a share of the mass at the least squared L2; pair the rest at random.

    Of all ways to pair exactly round(share n) images and noise samples, the one of least total cost
    is found. The images left out would have no partner in a training step, so they are
    paired by chance: all noise samples are used once.

    Options:
        share: of the images and noise samples that are paired at the least cost, above 0 and at
            most 1.

    Cost: O(n^3) time, O(n^2) memory.

    Source: Chapel et al. 2020 (arXiv 2002.08276): partial transport as an assignment with dummy
    points.
    """

    deterministic: ClassVar[bool] = False

    share: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.share <= 1, f"partial: share must be in (0, 1], got {self.share}")

    def check_count(self, n: int) -> None:
        """The rest is drawn from a plan, which is an assignment of bounded size."""
        # If nothing is left over, nothing is drawn.
        require(
            n <= LARGEST_ASSIGNMENT or round(self.share * n) == n,
            f"{self}: the rest of a pool is drawn at random from at most {LARGEST_ASSIGNMENT:,}"
            f" images at once, not {n:,}: take a smaller pool, share=1, hiref, or semidiscrete",
        )

    def peak_bytes(self, n: int, d: int) -> int:
        """The bytes of the squared distances; the plan, its logarithm and the draw take as much."""
        return squared_distances_bytes(n, d)

    def solve(self, pool: Pool) -> Pairing:
        """The partial plan, completed by the independent plan of the rest, and a draw."""
        n = len(pool.images)
        self.check_count(n)
        distances = squared_distances(pool.images, pool.noise).cpu().numpy()
        index = partial_assignment(distances, round(self.share * n))
        paired = index >= 0
        rest = np.setdiff1d(np.arange(n), index[paired])
        plan = torch.zeros(n, n, dtype=torch.float64, device="cpu")
        plan[np.nonzero(paired)[0], index[paired]] = 1 / n
        plan[np.ix_(~paired, rest)] = 1 / (n * max(len(rest), 1))
        return pairing_from_plan(plan.log(), pool, replace=False, transported=paired.mean())


def partial_assignment(cost: np.ndarray, pairs: int) -> np.ndarray:
    """The assignment of least total cost that pairs only some rows.

    Args:
        cost: `[n, n]`.
        pairs: rows to pair.

    Returns:
        `[n]`, the column of each row, or -1.

    """
    from scipy.optimize import linear_sum_assignment

    n = len(cost)
    # One dummy for every row and every column that stays without a partner.
    padded = np.zeros((2 * n - pairs, 2 * n - pairs))
    # Dummies cost nothing, so no cost may be below 0.
    padded[:n, :n] = cost - cost.min()
    padded[n:, n:] = math.inf  # a dummy takes one real point each
    _, columns = linear_sum_assignment(padded)
    return np.where(columns[:n] < n, columns[:n], -1)
