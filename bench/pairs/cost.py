"""The cost of coupling over a training: transport cost, solver time, waiting time."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass
class CouplingCost:
    """Gains and times of all pools coupled so far; sums, so that a resumed run adds to them.

    Attributes:
        pools: number of pools coupled.
        solver_seconds: time of the solver, in parallel to the training.
        wait_seconds: time that the trainer waited for a pool.
        cost_before: sum over pools of the mean squared distance of a pair, as drawn.
        cost_after: the same as coupled.
        pool_ms: solver time of each pool, in ms.
        fit_seconds: time of fitting a dataset coupling, before the training.

    """

    pools: int = 0
    solver_seconds: float = 0.0
    wait_seconds: float = 0.0
    cost_before: float = 0.0
    cost_after: float = 0.0
    # All of them, for the median: the first pools are slower, and a mean would show that.
    pool_ms: list[float] = field(default_factory=list)
    fit_seconds: float = 0.0

    @property
    def median_ms(self) -> float:
        """Median solver time of a pool, in ms."""
        return statistics.median(self.pool_ms)

    def add(self, report: dict[str, float]) -> None:
        """Count one pool."""
        self.pools += 1
        # The solver works in parallel to the training; only the waits cost time of their own.
        self.solver_seconds += report["seconds"]
        self.cost_before += report["cost_before"]
        self.cost_after += report["cost_after"]
        self.pool_ms.append(1000 * report["seconds"])
