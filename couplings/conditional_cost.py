"""The exact assignment of squared L2 plus a price on pairing across conditions."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from couplings.contract import Coupling, Pairing, Pool, pair_within_classes, require
from couplings.cost import reduced, squared_distances
from couplings.hungarian import Hungarian
from couplings.registry import register


@register("conditional-cost")
@dataclass(frozen=True, kw_only=True)
class ConditionalCost(Coupling):
    """The permutation of least ||x_i - y_j||^2 + weight * f(c_i, c_j), noise j counting as of image j's condition.

    f is 0 or 1 (same or other) for whole-number labels, and 1 - cosine for floating-point conditions `[n, k]`.

    Options:
        weight: the price, in units of squared L2. `none` sets it by the pool: whole-number labels never cross,
            as under an infinite price; otherwise as `ratio` says.
        ratio: the share of all cells (i, j) that cost no more than the pair (i, i) as given. Small is strict; 1/n
            is the least there is.

    Source: Cheng and Schwing 2025, "The Curse of Conditions" (C2OT), whose bisection for the weight has a closed
    form.
    """

    uses_labels: ClassVar[bool] = True

    weight: float | None = None
    ratio: float = 0.01

    def __post_init__(self):
        super().__post_init__()
        require(self.weight is None or self.weight >= 0, f"{self.name}: weight must be 0 or more, got {self.weight}")
        require(0 < self.ratio < 1, f"{self.name}: ratio must be in (0, 1), got {self.ratio}")

    def solve(self, pool: Pool) -> Pairing:
        """The optimal permutation and the weight it was solved with."""
        from scipy.optimize import linear_sum_assignment

        require(pool.labels is not None, f"{self.name} needs the conditions: pass labels=[n] or [n, k]")
        if self.weight is None and not pool.labels.is_floating_point():
            return pair_within_classes(pool, Hungarian().solve)
        squares = squared_distances(pool.images, pool.noise)
        mismatch = condition_distance(pool.labels).to(squares)
        weight = weight_for_ratio(squares, mismatch, self.ratio) if self.weight is None else self.weight
        matrix = squares + weight * mismatch
        reached = float((matrix <= squares.diagonal()[:, None]).double().mean())
        _, columns = linear_sum_assignment(reduced(-matrix)[0].cpu().numpy())
        return Pairing(torch.from_numpy(columns), {"weight": weight, "ratio": reached})


def condition_distance(labels: Tensor) -> Tensor:
    """f(c_i, c_j), `[n, n]` float64: 0 or 1 for whole numbers, 1 - cosine for floating-point rows `[n, k]`."""
    if not labels.is_floating_point():
        kind = torch.unique(labels, dim=0, return_inverse=True)[1]
        return (kind[:, None] != kind).double()
    require(
        labels.dim() == 2 and labels.shape[1] > 1, "floating-point conditions must be [n, k] with k > 1: their cosine"
    )
    norms = torch.linalg.vector_norm(labels.double(), dim=1, keepdim=True)
    require(bool((norms > 0).all() & norms.isfinite().all()), "a condition of zeros, NaN or infinity has no cosine")
    unit = labels.double() / norms
    return (1 - unit @ unit.T).clamp_min(0).fill_diagonal_(0)


def weight_for_ratio(squares: Tensor, mismatch: Tensor, ratio: float) -> float:
    """The least weight w >= 0 with mean[squares + w mismatch <= diagonal of squares] <= ratio.

    The cell (i, j) is counted while w <= (squares_ii - squares_ij) / mismatch_ij, so w is an order statistic.

    Raises:
        CouplingError: more cells than that have no mismatch, so no weight is enough.

    """
    margin = squares.diagonal()[:, None] - squares
    limit = torch.where(mismatch > 0, margin / mismatch, torch.where(margin >= 0, torch.inf, -torch.inf)).flatten()
    allowed = int(ratio * len(limit))
    last = float(limit.kthvalue(len(limit) - allowed).values)  # the largest that must not be counted
    if last == torch.inf:
        least = float(limit.isposinf().double().mean())
        require(False, f"conditional-cost: equal conditions alone give ratio {least:.3g}: set ratio above, or weight")
    return max(0.0, last * (1 + 1e-9))
