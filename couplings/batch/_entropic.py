"""Options of the entropic couplings, their cost in units of epsilon, and the draw from the plan."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from couplings.contract import Coupling, Pairing, Pool, require
from couplings.cost import scale_of
from couplings.plan import LogPlan, blocks, check_assignable, pairing_from_plan, summarise

# The largest pool whose cost matrix is kept, 512 MiB: an iteration that recomputes it takes n^2 d
# multiplications instead of reading it, for CIFAR-10 some 300 times as long, but a larger one would
# crowd out the model.
WHOLE = 8192
# A deviation of the costs below this share of the largest cost is rounding.
NO_DEVIATION = 1e-12


@dataclass(frozen=True, eq=False)
class RelativeCost:
    """C / (epsilon std(C)) of C = -<x, y>, less its row and column means, `[n, n]` float64.

    Attributes:
        x: `[n, d]` float64, the centred images in units of epsilon std(C): the cost is -x y^T.
        y: `[n, d]` float64, the centred noise.
        kept: the matrix, or None if its rows are recomputed when they are asked for.

    """

    x: Tensor
    y: Tensor
    kept: Tensor | None = None

    @property
    def is_cuda(self) -> bool:
        """True if the blocks are on a GPU."""
        return self.x.is_cuda

    def __len__(self) -> int:
        return len(self.x)

    def split(self, rows: int) -> Iterator[Tensor]:
        """Blocks `[rows, n]`, in float64, whose products no GPU rounds to TF32."""
        if self.kept is not None:
            yield from self.kept.split(rows)
            return
        for x in self.x.split(rows):
            yield (x @ self.y.T).neg_()

    def matrix(self) -> Tensor:
        """All of it, 8 n^2 bytes."""
        return next(self.split(len(self)))


def relative_cost(
    images: Tensor, noise: Tensor, epsilon: float, whole: int | None = None
) -> RelativeCost:
    """The cost of a pool at a relative epsilon; 0 if all costs are equal.

    Args:
        images: `[n, d]`.
        noise: `[n, d]`.
        epsilon: in units of the deviation of the costs.
        whole: the largest n whose matrix is kept, `WHOLE` by default.

    """
    x = images.double() / scale_of(images)
    y = noise.double() / scale_of(noise)
    x_mean = x.mean(0)
    y_mean = y.mean(0)
    largest = float(x.norm(dim=1).max()) * float(y.norm(dim=1).max())
    # In place: the copies are as large as the pool in float64.
    x = x.sub_(x_mean)
    y = y.sub_(y_mean)
    cost = RelativeCost(x, y)
    if len(x) <= (WHOLE if whole is None else whole):
        cost = RelativeCost(x, y, cost.matrix())
    deviation = math.sqrt(_variance(cost, x_mean, y_mean))
    # Rounding alone must not make a plan.
    unit = epsilon * deviation if deviation > NO_DEVIATION * largest else math.inf
    return RelativeCost(x.div_(unit), y, None if cost.kept is None else cost.kept.div_(unit))


@dataclass(frozen=True, kw_only=True)
class Entropic(Coupling):
    """A pairing drawn from the plan P that minimises <C, P> - eps H(P), for C = -<x, y>.

    The marginals of P are uniform. Without replacement the draw is an assignment on the n x n
    matrix, 8 n^2 bytes of host memory (2 GiB at n = 16384, above which it is refused);
    `replace=true` draws a block of rows at a time.

    Options:
        epsilon: relative, eps = epsilon * std(C). The renormalised entropy of image pools is about
            .9 at 1, .2 to .3 at .1 and .05 at .01; report `entropy` next to any result (arXiv
            2506.05526).
        max_iterations: a solver that needs more is refused, never cut short.
        tolerance: the L1 error of the marginals to stop at.
        replace: draw the noise sample of every image independently, so that samples repeat and
            their marginal holds in expectation only.
    """

    deterministic: ClassVar[bool] = False

    epsilon: float = 0.05
    max_iterations: int = 5000
    tolerance: float = 1e-3
    replace: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.epsilon > 0, f"{self.name}: epsilon must be above 0, got {self.epsilon}")
        require(
            self.max_iterations > 0,
            f"{self.name}: max_iterations must be above 0, got {self.max_iterations}",
        )
        require(
            0 < self.tolerance < 1,
            f"{self.name}: tolerance must be in (0, 1), got {self.tolerance}",
        )

    @property
    def permutes(self) -> bool:
        """True if the draw is without replacement."""
        return not self.replace

    def peak_bytes(self, n: int, d: int) -> int:
        """Both clouds in float64, the cost matrix and its kernel if kept, and that of a draw."""
        held = 16 * n * n if n <= WHOLE else 0
        drawn = 0 if self.replace else 8 * n * n
        # The kernel is gone before the draw begins.
        return 16 * n * d + max(held, drawn)

    def check_count(self, n: int) -> None:
        """A draw without replacement is an assignment of bounded size."""
        if not self.replace:
            check_assignable(n)

    @abstractmethod
    def log_plan(self, cost: RelativeCost) -> tuple[LogPlan, int]:
        """Solve for a cost in units of eps: log P, and the number of iterations."""

    def solve(self, pool: Pool) -> Pairing:
        """Solve in the log domain, check the marginals, draw."""
        self.check_count(len(pool.images))
        log_plan, iterations = self.log_plan(relative_cost(pool.images, pool.noise, self.epsilon))
        # Computed from the plan itself, because a backend may stop by another norm, or in float32.
        summary = summarise(log_plan)
        require(
            summary.marginal_error <= self.tolerance,
            f"{self}: marginal error {summary.marginal_error:.2g} > {self.tolerance:g} after"
            f" {iterations} iterations: raise epsilon or max_iterations",
        )
        return pairing_from_plan(log_plan, pool, self.replace, summary, iterations=iterations)


def _variance(cost: RelativeCost, x_mean: Tensor, y_mean: Tensor) -> float:
    """The variance of <x, y> over all cells, with the means `[d]` that were taken off."""
    # <x, y> is its doubly centred part, a term of i, a term of j and a constant, all uncorrelated
    # over the cells.
    squares = 0.0
    for block in blocks(cost):
        squares += float(block.square().sum())
    of_rows = float((cost.x @ y_mean).var(correction=0))
    of_columns = float((cost.y @ x_mean).var(correction=0))
    return squares / len(cost) ** 2 + of_rows + of_columns
