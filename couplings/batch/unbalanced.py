"""Unbalanced entropic transport, which uses distant images and noise samples less often."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from couplings.batch._momentum import Momentum
from couplings.batch.sinkhorn import MOST_SHIFT
from couplings.contract import Coupling, Pairing, Pool, require
from couplings.cost import negative_dot, scale_of, squared_distances
from couplings.plan import LogPlan, blocks, pairing_from_plan

# A sum below this has lost terms to underflow, which begins at 1e-308 and e^-745.
LEAST_SUM = 1e-290
# Relative error of a potential: that of a far outlier is so large that no step of it can be below a
# tolerance.
ROUNDING = 1e-14
# A deviation of the costs below this share of the largest cost is rounding.
NO_DEVIATION = 1e-12


@dataclass(frozen=True, kw_only=True)
class Unbalanced(Coupling):
    """A draw from an unbalanced plan.

    The plan P minimises <C, P> + eps KL(P | u) + rho KL(P 1 | a) + rho KL(P^T 1 | b). a and b are
    uniform, u = a b^T, and C is the squared L2 less its least value over the pool, in units of
    twice the deviation of <x, y>, as in `sinkhorn`.

    Every image draws one noise sample from its own row of P, so each image is used once. The drawn
    noise therefore follows the mean of the rows of P, each divided by its sum, and not P's own
    noise marginal: a distant image counts for 1 / n all the same. Both are non-uniform. Noise
    samples far from all images come less often, and the model no longer trains on standard normal
    noise. (A permutation drawn from P would be one drawn from the balanced plan, because the
    marginals of P drop out of it.) In the report, `marginal_error` and `entropy` are P's, scaled to
    a total mass of 1, and `transported` is the total mass before.

    Options:
        epsilon: relative, as in `sinkhorn`.
        mass: rho, relative likewise; the larger, the closer to `sinkhorn:replace=true`. On image
            pools of 512 the law of the drawn noise is off the uniform one by about .43 in L1 at 3,
            .14 at 10 and .05 at 30, P's noise marginal by about two thirds of that.
        max_iterations: a plan that needs more is refused.
        tolerance: the largest change of a potential, in units of eps, that an iteration without
            momentum would make where it stops.

    Cost: O(n^2) time an iteration, two matrix-vector products; 32 n^2 bytes.

    Source: Chizat et al. 2018, "Scaling algorithms for unbalanced optimal transport problems"; the
    best shift between the potentials is after Sejourne et al. 2022, "Faster unbalanced optimal
    transport".
    """

    exact_noise_marginal: ClassVar[bool] = False
    deterministic: ClassVar[bool] = False

    epsilon: float = 0.05
    mass: float = 10.0
    max_iterations: int = 5000
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ("epsilon", "mass", "max_iterations", "tolerance"):
            value = getattr(self, option)
            require(value > 0, f"unbalanced: {option} must be above 0, got {value}")

    def peak_bytes(self, n: int, d: int) -> int:
        """Four matrices in float64, while the costs are computed; the iterations hold two."""
        return 32 * n * n

    def solve(self, pool: Pool) -> Pairing:
        """The plan, scaled to total mass 1, and a draw from every row."""
        require(
            pool.generator is not None,
            "unbalanced draws from its plan: pass generator=torch.Generator()",
        )
        cost = relative_distances(pool.images, pool.noise) / self.epsilon
        plan, iterations = log_unbalanced(
            cost, self.mass / self.epsilon, self.tolerance, self.max_iterations
        )
        require(
            iterations < self.max_iterations,
            f"{self}: no convergence in {iterations} iterations: raise epsilon or max_iterations,"
            " or lower mass",
        )
        log_mass = torch.cat([block.logsumexp(1) for block in blocks(plan)]).logsumexp(0)
        scaled = LogPlan(plan.f - log_mass, plan.g, plan.cost)
        transported = float(log_mass.exp())
        return pairing_from_plan(
            scaled, pool, replace=True, iterations=iterations, transported=transported
        )


def relative_distances(images: Tensor, noise: Tensor) -> Tensor:
    """Squared L2 less its least value, over twice the deviation of <x, y>, `[n, n]`.

    Zeros if all are equal.
    """
    cost = squared_distances(images, noise)
    cost = cost - cost.min()
    unit_deviation = float(negative_dot(images, noise).std(correction=0))
    deviation = 2 * unit_deviation * scale_of(images) * scale_of(noise)
    if deviation <= NO_DEVIATION * float(cost.max()):
        return torch.zeros_like(cost)
    return cost / deviation


def log_unbalanced(
    cost: Tensor, rho: float, tolerance: float, max_iterations: int
) -> tuple[LogPlan, int]:
    """The plan P of a cost `[n, n]` and a rho in units of eps, and the number of iterations.

    It stops when an iteration without momentum would move no potential by more than `tolerance`, or
    unconverged.

    With f = f(g) the best for g, a Sinkhorn iteration moves g by -damping (log share + g / rho),
    which is a gradient step of unit length on the convex semi-dual as far as shares are near exp(-g
    / rho), the shares at the solution. So the momentum of `sinkhorn` applies.
    """
    damping = rho / (1 + rho)
    shares = DampedShares(cost, damping)
    g = torch.zeros_like(cost[0])
    momentum = Momentum(g)
    iterations = 0
    while True:
        f, log_share = shares(g)
        iterations += 1
        # The best constant to take from g, while f gains it times damping. Plain iterations find it
        # by 1 / rho at a time.
        excess = log_share.logsumexp(0) - (-g / rho).logsumexp(0)
        shift = excess / (1 / rho + 1 / (1 + rho))
        f = f + damping * shift
        g = g - shift
        log_share = log_share - shift / (1 + rho)
        step = -damping * (log_share + g / rho)
        settled = bool((step.abs() <= tolerance + ROUNDING * g.abs()).all())
        if settled or iterations >= max_iterations:
            break
        # Far from uniform shares the gradient weighs the steps by them.
        g = momentum.step(g, step, log_share.softmax(0) * step)
    return LogPlan(f - 2 * math.log(len(cost)), g, cost), iterations


class DampedShares:
    """The best f for a potential g, and the column sums of their plan, by products with a kernel.

    With L_i = log sum_j exp(h_j - c_ij) for a potential h near g, the kernel is K_ij = exp(h_j -
    c_ij - L_i), whose rows add up to 1, and v = exp(g - h):

        f_i = -damping (L_i + log (K v)_i - log n),
        n (P^T 1)_j = v_j sum_i K_ij exp(f_i + L_i) / n.

    h is moved to g when v leaves its range, as in `KernelShares`.
    """

    def __init__(self, cost: Tensor, damping: float):
        self.cost = cost
        self.damping = damping
        self.log_n = math.log(len(cost))
        self.kernel = torch.empty_like(cost)
        self.h: Tensor | None = None

    def __call__(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """Give f `[n]` and the logs `[n]` of n times the column sums."""
        if self.h is None or float((g - self.h).abs().max()) > MOST_SHIFT:
            self._absorb(g)
        v = (g - self.h).exp()
        f = -self.damping * (self.log_rows + (self.kernel @ v).log() - self.log_n)
        log_u = f + self.log_rows
        peak = log_u.max()
        sums = self.kernel.T @ (log_u - peak).exp()
        log_share = sums.log() + peak + g - self.h - self.log_n
        # A column, unlike a row, may lose nearly all of its mass, and then its sum underflows. Such
        # columns are summed in the log domain.
        lost = (sums < LEAST_SUM).nonzero()[:, 0]
        if len(lost):
            log_share[lost] = (f[:, None] - self.cost[:, lost]).logsumexp(0) + g[lost] - self.log_n
        return f, log_share

    def _absorb(self, g: Tensor) -> None:
        """Move h to g."""
        self.h = g
        log_rows = []
        for kernel, block in zip(blocks(self.kernel), blocks(self.cost), strict=True):
            torch.sub(g, block, out=kernel)
            log_sum = kernel.logsumexp(1)
            kernel.sub_(log_sum[:, None]).exp_()
            log_rows.append(log_sum)
        self.log_rows = torch.cat(log_rows)
