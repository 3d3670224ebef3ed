"""The nearest of k noises for every image, as Immiscible Diffusion's second version chooses it."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from couplings.contract import Coupling, Pairing, Pool, require
from couplings.cost import common_scale, pair_distances
from couplings.registry import register


@register("knn")
@dataclass(frozen=True, kw_only=True)
class Knn(Coupling):
    """The nearest among image i's own noise and k - 1 others of the pool, drawn for it at random, in O(n k d).

    A noise may be chosen by several images and another by none. The noise that the model is trained with is no
    longer standard normal: short noises are near to every image, so its mean square falls to about .98 at k = 4
    and .95 at k = 64 for d = 3072, while sampling starts from the full one. A permutation has no such bias.

    The paper draws k fresh noises for every image. Here they come from the pool, so all couplings see the same
    noises; the choice of one image has the same law, but two images may share a noise. k is cut to n.

    Source: Li et al., "Improved Immiscible Diffusion" (k = 4 for flow matching).
    """

    exact_noise_marginal: ClassVar[bool] = False
    deterministic: ClassVar[bool] = False

    k: int = 4

    def __post_init__(self):
        super().__post_init__()
        require(self.k > 0, f"knn: k must be above 0, got {self.k}")

    def solve(self, pool: Pool) -> Pairing:
        """The nearest of the candidates of every image."""
        generator, n = pool.generator, len(pool.images)
        require(generator is not None, "knn draws the candidates: pass generator=torch.Generator().manual_seed(seed)")
        keys = torch.rand(n, n, generator=generator, device=generator.device).fill_diagonal_(-1.0)  # own noise first
        candidates = keys.topk(min(self.k, n), largest=False).indices.to(pool.images.device)  # [n, k]
        scale = common_scale(pool.images, pool.noise)
        columns = [pair_distances(pool.images, pool.noise, column, scale) for column in candidates.T]
        nearest = torch.stack(columns, 1).argmin(1, keepdim=True)
        return Pairing(candidates.gather(1, nearest)[:, 0])
