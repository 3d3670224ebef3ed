"""The exact assignment by SciPy's shortest augmenting paths."""

from dataclasses import dataclass

import torch

from couplings.batch._exact import Exact
from couplings.contract import Pairing, Pool


@dataclass(frozen=True, kw_only=True)
class Hungarian(Exact):
    """The permutation of the noise samples with the least total cost.

    Cost: O(n^3) time, 12 n^2 bytes.

    Source: Crouse 2016, "On implementing 2D rectangular assignment algorithms".
    """

    def peak_bytes(self, n: int, d: int) -> int:
        """The costs, and SciPy's copy of them in float64."""
        return max(self.matrix_bytes(n), 12 * n * n)

    def solve(self, pool: Pool) -> Pairing:
        """The optimal permutation of the costs, float32 for squared L2 on the CPU, else float64."""
        # Imported late: it loads slowly, and most couplings do not need it.
        from scipy.optimize import linear_sum_assignment

        _, columns = linear_sum_assignment(self.matrix(pool).cpu().numpy())
        return Pairing(torch.from_numpy(columns))
