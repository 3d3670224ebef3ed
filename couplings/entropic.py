"""What the entropic couplings share: their options, the scale of epsilon, and the draw from the plan."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from couplings.contract import Coupling, Pairing, Pool, require
from couplings.cost import double_centred, negative_dot
from couplings.plan import marginal_error, pairing_from_plan


@dataclass(frozen=True, kw_only=True)
class Entropic(Coupling):
    """A pairing drawn from the plan P minimising <C, P> - eps H(P) with uniform marginals, C = -<x, y>.

    Options:
        epsilon: relative, eps = epsilon * std(C). The renormalised entropy of image pools is about .9 at 1,
            .2 to .3 at .1 and .05 at .01; report `entropy` next to any result (arXiv 2506.05526).
        max_iterations: a solver that needs more is refused, never cut short.
        tolerance: the L1 error of the marginals to stop at.
        replace: draw every image's noise by itself, so noises repeat and their marginal holds in
            expectation only.
    """

    deterministic: ClassVar[bool] = False

    epsilon: float = 0.05
    max_iterations: int = 5000
    tolerance: float = 1e-3
    replace: bool = False

    def __post_init__(self):
        super().__post_init__()
        require(self.epsilon > 0, f"{self.name}: epsilon must be above 0, got {self.epsilon}")
        require(self.max_iterations > 0, f"{self.name}: max_iterations must be above 0, got {self.max_iterations}")
        require(0 < self.tolerance < 1, f"{self.name}: tolerance must be in (0, 1), got {self.tolerance}")

    @property
    def permutes(self) -> bool:
        """Whether the draw is without replacement."""
        return not self.replace

    @abstractmethod
    def log_plan(self, cost: Tensor) -> tuple[Tensor, int]:
        """Solve for a cost `[n, n]` float64 in units of eps: log P `[n, n]` float64, and the iterations."""

    def solve(self, pool: Pool) -> Pairing:
        """Solve in the log domain, check the marginals, draw."""
        log_plan, iterations = self.log_plan(relative_cost(pool.images, pool.noise, self.epsilon))
        error = marginal_error(log_plan)
        require(
            error <= self.tolerance,
            f"{self}: marginal error {error:.2g} > {self.tolerance:g} after {iterations} iterations: "
            "raise epsilon or max_iterations",
        )
        return pairing_from_plan(log_plan, pool, self.replace, iterations=iterations)


def relative_cost(images: Tensor, noise: Tensor, epsilon: float) -> Tensor:
    """-<x, y> / (epsilon * std), double-centred, `[n, n]` float64; zeros where all costs are equal."""
    cost = negative_dot(images, noise)
    deviation = float(cost.std(correction=0))
    if deviation <= 1e-12 * float(cost.abs().max()):
        return torch.zeros_like(cost)  # rounding alone must not make a plan
    return double_centred(cost) / deviation / epsilon
