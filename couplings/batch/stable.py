"""The stable matching of images and noises that both prefer the nearer."""

from dataclasses import dataclass

import numpy as np
import torch

from couplings.contract import Coupling, Pairing, Pool
from couplings.cost import squared_distances, squared_distances_bytes


@dataclass(frozen=True, kw_only=True)
class Stable(Coupling):
    """A permutation in O(n^2 log n) without a blocking pair: no two that are nearer each other than
    their mates.

    Images and noises rank each other by the same distance, so the nearest free pair of all would
    never part: taking it again and again gives what Gale and Shapley's proposals end in, and ties
    go to the first.

    Source: Pooladian et al. 2023, "Multisample Flow Matching" (arXiv 2304.14772), "Stable".
    """

    def peak_bytes(self, n: int, d: int) -> int:
        """What the squared distances take; they and their order take less."""
        return squared_distances_bytes(n, d)

    def solve(self, pool: Pool) -> Pairing:
        """Walk through the pairs from the nearest to the farthest."""
        distances = squared_distances(pool.images, pool.noise).cpu().numpy()
        n, left = len(distances), len(distances)
        index, taken = np.full(n, -1), np.zeros(n, dtype=bool)
        order = distances.argsort(axis=None, kind="stable")
        for part in np.split(order, range(8 * n, n * n, 8 * n)):
            rows, columns = np.divmod(part, n)
            free = (index[rows] < 0) & ~taken[columns]
            for i, j in zip(rows[free].tolist(), columns[free].tolist(), strict=True):
                if index[i] < 0 and not taken[j]:
                    index[i], taken[j], left = j, True, left - 1
            if not left:
                break
        return Pairing(torch.from_numpy(index))
