"""Every image in turn takes the nearest noise sample that is left."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from couplings.contract import Coupling, Pairing, Pool, require
from couplings.cost import squared_distances, squared_distances_bytes


@dataclass(frozen=True, kw_only=True)
class Greedy(Coupling):
    """A permutation: images in random order, each with its nearest unused noise sample.

    The order is random so that no image is always served last. Late images take what is left, so
    the cost is above the optimum. The coupling `stable` takes the nearest pairs of the whole pool
    first.

    Cost: O(n^2) time and memory, after the distances in O(n^2 d).

    Source: none; the usual heuristic for assignments.
    """

    deterministic: ClassVar[bool] = False

    def peak_bytes(self, n: int, d: int) -> int:
        """The bytes of the squared distances."""
        return squared_distances_bytes(n, d)

    def solve(self, pool: Pool) -> Pairing:
        """The permutation for one random order of the images."""
        generator = pool.generator
        require(
            generator is not None,
            "greedy draws the order of the images: pass generator=torch.Generator()",
        )
        distances = squared_distances(pool.images, pool.noise).cpu().numpy()
        n = len(distances)
        index = np.empty(n, dtype=np.int64)
        # Infinity is added to what is taken, which is faster than a masked minimum.
        taken = np.zeros(n)
        for i in torch.randperm(n, generator=generator, device=generator.device).tolist():
            index[i] = (distances[i] + taken).argmin()
            taken[index[i]] = np.inf
        return Pairing(torch.from_numpy(index))
