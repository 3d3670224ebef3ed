"""Unbalanced entropic transport: images and noises that are dear to reach are reached less."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from couplings.contract import Coupling, Pairing, Pool, require
from couplings.cost import negative_dot, scale_of, squared_distances
from couplings.plan import pairing_from_plan
from couplings.registry import register


@register("unbalanced")
@dataclass(frozen=True, kw_only=True)
class Unbalanced(Coupling):
    """A draw from the plan P minimising <C, P> + eps KL(P | u) + rho KL(P 1 | a) + rho KL(P^T 1 | b).

    a and b are uniform, u = a b^T, and C is the squared L2 less its least value over the pool, in units of twice
    the deviation of <x, y>, as in `sinkhorn`. Every image draws its noise from its own row of P, so the images'
    marginal stays uniform and the noises' follows P: noises that are far from all images come less often, and the
    model no longer trains on standard normal noise. (A permutation drawn from P would be one drawn from the
    balanced plan, because the marginals of P drop out of it.)

    Options:
        epsilon: relative, as in `sinkhorn`.
        mass: rho, relative likewise; the larger, the closer to `sinkhorn:replace=true`. On image pools of 512 the
            noises' marginal is off by about .4 in L1 at 3, .1 at 10 and .04 at 30, and each takes about one and a half
            times the iterations of the one before.
        max_iterations: a plan that needs more is refused.
        tolerance: the largest change of a potential, in units of eps, to stop at.

    Source: Chizat et al. 2018, "Scaling algorithms for unbalanced optimal transport problems", in the log domain; the
    best shift between the potentials after every sweep is Sejourne et al. 2022, "Faster unbalanced optimal transport".
    """

    exact_noise_marginal: ClassVar[bool] = False
    deterministic: ClassVar[bool] = False

    epsilon: float = 0.05
    mass: float = 10.0
    max_iterations: int = 5000
    tolerance: float = 1e-4

    def __post_init__(self):
        super().__post_init__()
        for option in ("epsilon", "mass", "max_iterations", "tolerance"):
            require(getattr(self, option) > 0, f"unbalanced: {option} must be above 0, got {getattr(self, option)}")

    def solve(self, pool: Pool) -> Pairing:
        """The plan, scaled to total mass 1, and a draw from every row."""
        require(pool.generator is not None, "unbalanced draws from its plan: pass generator=torch.Generator()")
        cost = relative_distances(pool.images, pool.noise) / self.epsilon
        log_plan, iterations = log_unbalanced(cost, self.mass / self.epsilon, self.tolerance, self.max_iterations)
        require(
            iterations < self.max_iterations,
            f"{self}: no convergence in {iterations} iterations: raise epsilon or max_iterations, or lower mass",
        )
        total = log_plan.logsumexp((0, 1))
        return pairing_from_plan(log_plan - total, pool, True, iterations=iterations, transported=float(total.exp()))


def relative_distances(images: Tensor, noise: Tensor) -> Tensor:
    """Squared L2 less its least value, over twice the deviation of <x, y>, `[n, n]`; zeros if all are equal."""
    cost = squared_distances(images, noise)
    cost = cost - cost.min()
    deviation = 2 * float(negative_dot(images, noise).std(correction=0)) * scale_of(images) * scale_of(noise)
    return cost / deviation if deviation > 1e-12 * float(cost.max()) else torch.zeros_like(cost)


def log_unbalanced(cost: Tensor, rho: float, tolerance: float, max_iterations: int) -> tuple[Tensor, int]:
    """For a cost `[n, n]` and a rho in units of eps: log P `[n, n]`, and the number of iterations."""
    damping = rho / (1 + rho)
    log_weight = -math.log(len(cost))
    f = torch.zeros(len(cost), dtype=cost.dtype, device=cost.device)
    iterations, change = 0, math.inf
    while change > tolerance and iterations < max_iterations:
        before = f
        g = -damping * (f[:, None] - cost + log_weight).logsumexp(0)
        f = -damping * (g - cost + log_weight).logsumexp(1)
        # f + s and g - s leave the plan as it is. Sweeps alone find the best s by a share of 1 / rho at a time.
        shift = rho / 2 * ((-f / rho).logsumexp(0) - (-g / rho).logsumexp(0))
        f, g = f + shift, g - shift
        iterations += 1
        change = float((f - before).abs().max())
    return f[:, None] + g - cost + 2 * log_weight, iterations
