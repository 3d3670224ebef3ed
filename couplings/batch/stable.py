"""The stable matching of images and noise samples that both prefer the nearer."""

from dataclasses import dataclass

import numpy as np
import torch

from couplings.contract import Coupling, Pairing, Pool
from couplings.cost import squared_distances, squared_distances_bytes

# Pairs looked at between two clean-ups, in units of n: most pairs are dropped by NumPy, in bulk,
# because an image or a noise sample of theirs is taken.
PART = 8


@dataclass(frozen=True, kw_only=True)
class Stable(Coupling):
    """A permutation without a blocking pair.

    A pair blocks if both are nearer to each other than to their mates. Images and noise samples
    rank each other by the same distance, so the nearest free pair of all would never part: taking
    it again and again gives the outcome of Gale and Shapley's proposals, with ties to the first.

    Cost: O(n^2 log n) time, O(n^2) memory.

    Source: Pooladian et al. 2023, "Multisample Flow Matching" (arXiv 2304.14772), "Stable".
    """

    def peak_bytes(self, n: int, d: int) -> int:
        """The bytes of the squared distances; they and their order take less."""
        return squared_distances_bytes(n, d)

    def solve(self, pool: Pool) -> Pairing:
        """Take pairs from the nearest to the farthest."""
        distances = squared_distances(pool.images, pool.noise).cpu().numpy()
        n = len(distances)
        index = np.full(n, -1)
        taken = np.zeros(n, dtype=bool)
        left = n
        order = distances.argsort(axis=None, kind="stable")
        for part in np.split(order, range(PART * n, n * n, PART * n)):
            rows, columns = np.divmod(part, n)
            free = (index[rows] < 0) & ~taken[columns]
            for i, j in zip(rows[free].tolist(), columns[free].tolist(), strict=True):
                # An earlier pair of this part may have taken one of them.
                if index[i] < 0 and not taken[j]:
                    index[i] = j
                    taken[j] = True
                    left -= 1
            if not left:
                break
        return Pairing(torch.from_numpy(index))
