"""Random pairs whose losses are weighted by the entropic cost of the pair, without a solver."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from couplings.contract import Coupling, Pairing, Pool, require
from couplings.cost import common_scale, pair_distances


@dataclass(frozen=True, kw_only=True)
class WCFM(Coupling):
    """Pairs as they were drawn, with weights w = exp(-||y - z|| / epsilon) of their losses.

    Weighted pairs are those of the Gibbs kernel of entropic OT before its marginals are restored:
    both marginals are tilted, to images near the noise samples and to noise samples near the
    images. The weights have mean 1 over a pool. `effective_share` in the report is the effective
    sample size as a share of the pool, (sum w)^2 / (n sum w^2): near 0 the gradient is that of a
    few pairs.

    Options:
        kappa: epsilon in units of sqrt(d), for d values of an image; 0.09 is the 5 that the authors
            chose for CIFAR-10. Large values give random pairing.

    Cost: O(n d) time.

    Source: Calvo-Ordonez et al. 2025 (arXiv 2507.22270).
    """

    exact_noise_marginal: ClassVar[bool] = False
    exact_data_marginal: ClassVar[bool] = False
    weighs_losses: ClassVar[bool] = True

    kappa: float = 0.09

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.kappa > 0, f"{self.name}: kappa must be above 0, got {self.kappa}")
        # Other pairs would have other weights, and labels choose none.
        is_plain = not (self.within_class or self.mix or self.jitter)
        require(
            is_plain,
            f"{self.name}: its pairs stay as they were drawn: leave out within_class, mix"
            " and jitter",
        )

    def solve(self, pool: Pool) -> Pairing:
        """The identity, with weights."""
        n, d = pool.images.shape
        scale = common_scale(pool.images, pool.noise)
        epsilon = self.kappa * math.sqrt(d) / scale
        distances = pair_distances(pool.images, pool.noise, scale=scale)
        weights = n * (-distances / epsilon).softmax(0)
        effective = float(weights.mean().square() / weights.square().mean())
        index = torch.arange(n, device="cpu")
        return Pairing(index, {"effective_share": effective}, weights=weights.float())
