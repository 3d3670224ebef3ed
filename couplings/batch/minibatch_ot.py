"""The exact plan by POT's network simplex, as minibatch OT flow matching solves it."""

from dataclasses import dataclass

import torch

from couplings.batch._exact import Exact
from couplings.contract import Pairing, Pool, require
from couplings.plan import import_pot, pairing_from_plan

# POT's own limit, 100000, stops before the optimum at n = 2048 and loses about 1 % of the gain,
# unless prices were subtracted.
MAX_PIVOTS = 100_000_000
OPTIMAL = 1  # POT's code for success
# Of the mass of a cell of a permutation: less than this is left over from the simplex's additions.
DUST = 1e-6


@dataclass(frozen=True, kw_only=True)
class MinibatchOT(Exact):
    """A pairing from the exact plan between the uniform measures on the pool.

    The simplex ends in a vertex of the plans, which for uniform weights is a permutation, so the
    noise samples are permuted.

    Options:
        replace: draw each image's noise from its row of the plan with replacement. A permutation
            has one cell in a row, so this changes nothing unless weights do. It is not the default
            of torchcfm, which draws n cells of the whole plan with replacement and so drops a 1/e
            share of the images too: here images always stay where they are.

    Cost: about O(n^3) time, 40 n^2 bytes.

    Source: Tong et al. 2023 (arXiv 2302.00482); Pooladian et al. 2023 (arXiv 2304.14772).
    """

    replace: bool = False

    @property
    def permutes(self) -> bool:
        """True if the draw is without replacement."""
        return not self.replace

    def peak_bytes(self, n: int, d: int) -> int:
        """Five matrices in float64: the costs, POT's two copies of them, its flow and its plan."""
        return 40 * n * n

    def solve(self, pool: Pool) -> Pairing:
        """The pairing of the plan; refused if the simplex stopped before the optimum."""
        return self.solve_within(pool, MAX_PIVOTS)

    def solve_within(self, pool: Pool, max_pivots: int) -> Pairing:
        """`solve`, with another limit on the work of the simplex."""
        ot = import_pot()
        cost = self.matrix(pool).double().cpu()
        cost /= cost.max() or 1.0  # the simplex takes small absolute differences for zero
        n = len(cost)
        weights = torch.full((n,), 1 / n, dtype=torch.float64, device="cpu").numpy()
        flow, log = ot.emd(weights, weights, cost.numpy(), numItermax=max_pivots, log=True)
        require(
            log["result_code"] == OPTIMAL,
            f"{self}: POT stopped early ({log['warning']}): use lapjv or a smaller pool",
        )
        plan = torch.from_numpy(flow)
        plan[plan < DUST / n] = 0.0
        return pairing_from_plan(plan.log(), pool, self.replace)
