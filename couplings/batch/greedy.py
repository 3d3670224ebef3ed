"""Every image in turn takes the nearest noise that is left."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from couplings.contract import Coupling, Pairing, Pool, require
from couplings.cost import squared_distances, squared_distances_bytes


@dataclass(frozen=True, kw_only=True)
class Greedy(Coupling):
    """A permutation in O(n^2): images in random order, each with its nearest unused noise.

    The order is random so that no image is always served last; whoever comes late takes what is
    left, so the cost is above the optimum. Taking the nearest pairs of the whole pool first is the
    coupling `stable`.
    """

    deterministic: ClassVar[bool] = False

    def peak_bytes(self, n: int, d: int) -> int:
        """What the squared distances take."""
        return squared_distances_bytes(n, d)

    def solve(self, pool: Pool) -> Pairing:
        """The permutation for one random order of the images."""
        generator = pool.generator
        require(
            generator is not None,
            "greedy draws the order of the images: pass generator=torch.Generator()",
        )
        distances = squared_distances(pool.images, pool.noise).cpu().numpy()
        taken, index = np.zeros(len(distances)), np.empty(len(distances), dtype=np.int64)
        for i in torch.randperm(len(index), generator=generator, device=generator.device).tolist():
            index[i] = (distances[i] + taken).argmin()
            taken[index[i]] = np.inf
        return Pairing(torch.from_numpy(index))
