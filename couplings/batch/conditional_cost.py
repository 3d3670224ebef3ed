"""The exact assignment of squared L2 plus a price on pairing across conditions."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from couplings.batch.hungarian import Hungarian
from couplings.classes import largest_class, pair_within_classes
from couplings.contract import Coupling, Pairing, Pool, require
from couplings.cost import reduced, squared_distances, squared_distances_bytes
from couplings.prices import assign, epsilons, kernel_bytes

# Cosines of equal directions miss 1 by about 1e-16, and by about 1e-14 if the conditions are
# float32 and were computed in different batches. A distance below this is rounding, and counts as
# 0.
SAME = 1e-12
# The rounding of the largest price may shift a squared distance by this share of their deviation.
ROUNDING = 1e-4
# Rounding of a weight, relative. A weight that counts one cell less must be beyond it.
NUDGE = 1e-9


@dataclass(frozen=True, kw_only=True)
class ConditionalCost(Coupling):
    """The permutation of least ||x_i - y_j||^2 + weight * f(c_i, c_j).

    Noise j counts as of image j's condition. f is 0 or 1 (same or other) for whole-number labels.
    For floating-point conditions `[n, k]` it is their `distance`.

    Options:
        weight: the price, in units of squared L2. `none` sets it by the pool: whole-number labels
            never cross, as under an infinite price; otherwise as `ratio` says. A price that would
            take the digits of the squared distances in float64 is refused (see `heaviest_weight`).
        distance: of floating-point conditions: `cosine`, 1 - cosine, for k > 1; or `squared`,
            |c_i - c_j|^2, for any k, as C2OT has it for a coordinate.
        ratio: the share of all cells (i, j) that cost no more than the pair (i, i) as given. Small
            is strict. The least possible ratio comes from equal conditions, whose pairs no price
            makes dearer: 1/n if all differ, about half the share of cells of equal conditions
            otherwise.

    Cost: O(n^3) time, O(n^2) memory; of the largest class if labels never cross.

    Source: Cheng and Schwing 2025, "The Curse of Conditions" (C2OT), whose bisection for the weight
    has a closed form.
    """

    uses_labels: ClassVar[bool] = True

    weight: float | None = None
    ratio: float = 0.01
    distance: Literal["cosine", "squared"] = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.weight is None or self.weight >= 0,
            f"{self.name}: weight must be 0 or more, got {self.weight}",
        )
        require(0 < self.ratio < 1, f"{self.name}: ratio must be in (0, 1), got {self.ratio}")

    def peak_bytes(self, n: int, d: int) -> int:
        """The bytes of the costs; class by class they are those of `hungarian`."""
        if self.weight is None:
            return Hungarian().peak_bytes(n, d)
        return squared_distances_bytes(n, d) + kernel_bytes(n, d)

    def solved_at_once(self, n: int, labels: Tensor | None = None) -> int:
        """The largest class if labels never cross, else as for every coupling."""
        if labels is not None and self._never_crosses(labels):
            return largest_class(n, labels)
        return super().solved_at_once(n, labels)

    def solve(self, pool: Pool) -> Pairing:
        """The optimal permutation and the weight it was solved with."""
        require(
            pool.labels is not None, f"{self.name} needs the conditions: pass labels=[n] or [n, k]"
        )
        # An infinite price cannot be added to a distance, so each class is solved for itself.
        if self._never_crosses(pool.labels):
            return pair_within_classes(pool, Hungarian().solve)
        squares = squared_distances(pool.images, pool.noise)
        mismatch = condition_distance(pool.labels, self.distance).to(squares)
        weight = self.weight
        if weight is None:
            weight = weight_for_ratio(squares, mismatch, self.ratio)
        heaviest = heaviest_weight(squares, mismatch)
        require(
            weight <= heaviest,
            f"{self}: float64 cannot add this weight to squared distances and keep them: set at"
            f" most weight={heaviest / 2:.0e}, or within_class=true for conditions that must never"
            " cross",
        )
        matrix = squares + weight * mismatch
        reached = float((matrix <= squares.diagonal()[:, None]).double().mean())
        costs = reduced(-matrix)[0].numpy()
        columns = assign(costs, epsilons(*pool.images.shape))
        return Pairing(torch.from_numpy(columns), {"weight": weight, "ratio": reached})

    def _never_crosses(self, labels: Tensor) -> bool:
        """True for whole-number labels without a finite price."""
        return self.weight is None and not labels.is_floating_point()


def condition_distance(labels: Tensor, distance: str = "cosine") -> Tensor:
    """The distance f(c_i, c_j) of conditions, `[n, n]` float64.

    0 or 1 for whole numbers; for floating-point rows `[n, k]` 1 - cosine, or the `squared`
    difference.
    """
    if not labels.is_floating_point():
        _, kind = torch.unique(labels, dim=0, return_inverse=True)
        return (kind[:, None] != kind).double()
    if distance == "squared":
        return _squared_difference(labels)
    require(
        labels.dim() == 2 and labels.shape[1] > 1,
        "floating-point conditions must be [n, k] with k > 1: their cosine; distance=squared takes"
        " single numbers too",
    )
    largest = labels.double().abs().amax(1, keepdim=True)
    require(
        bool((largest > 0).all() & largest.isfinite().all()),
        "a condition of zeros, NaN or infinity has no cosine",
    )
    # Squares of very large or small values would leave the range of float64.
    scaled = labels.double() / largest
    unit = scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    apart = 1 - unit @ unit.T
    return torch.where(apart > SAME, apart, 0.0).fill_diagonal_(0)


def _squared_difference(labels: Tensor) -> Tensor:
    """|c_i - c_j|^2 of rows `[n, k]`, `[n, n]` float64."""
    require(labels.dim() == 2, "floating-point conditions must be [n, k]")
    require(bool(labels.isfinite().all()), "a condition is NaN or infinite")
    rows = labels.double()
    # Not by the matrix product: equal conditions must differ by exactly 0, or a weight that is to
    # rule out all others would be chosen by rounding.
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").square()


def heaviest_weight(squares: Tensor, mismatch: Tensor | None = None) -> float:
    """The largest weight whose prices leave squared distances `[n, n]` their digits in float64.

    Prices are 2 weight at most, or weight times the largest mismatch if that is more. Infinity if
    the squared distances are all equal up to shifts of rows and columns: then nothing can be lost.
    """
    # An assignment sees squared distances only up to such shifts, so the deviation that counts is
    # that of their doubly centred part.
    centred = squares - squares.mean(0)
    deviation = float((centred - centred.mean(1, keepdim=True)).std(correction=0))
    if deviation <= 1e-12 * float(squares.max()):
        return math.inf
    largest = 2.0 if mismatch is None else max(2.0, float(mismatch.max()))
    return 2 / largest * ROUNDING * deviation / torch.finfo(torch.float64).eps


def weight_for_ratio(squares: Tensor, mismatch: Tensor, ratio: float) -> float:
    """The least weight w >= 0 with mean[squares + w mismatch <= diagonal of squares] <= ratio.

    Raises:
        CouplingError: more cells than that have no mismatch, or one so small that float64 cannot
            hold the weight next to the squares. The message gives the least possible ratio.

    """
    limit = _largest_weights(squares, mismatch).flatten()
    allowed = math.floor(ratio * len(limit) + 1e-6)  # 0.29 * 100 is 28.999...
    # The largest limit that must not be reached, an order statistic.
    last = float(limit.kthvalue(len(limit) - allowed).values)
    weight = max(0.0, last * (1 + NUDGE))
    heaviest = min(heaviest_weight(squares, mismatch), torch.finfo(limit.dtype).max)
    least = float((limit * (1 + NUDGE) > heaviest).double().mean())
    require(
        weight <= heaviest,
        f"conditional-cost: pairs of equal conditions reach a ratio of {least:.4g} whatever the"
        f" weight: set ratio={rounded_up(least):g} or more, or weight",
    )
    return weight


def rounded_up(share: float) -> float:
    """The least number of three significant digits at or above a share in (0, 1], or 0 for 0."""
    if not share:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(share)) - 2)
    # Less a rounding error, or 0.29 would become 0.291.
    return math.ceil(share / unit * (1 - 1e-12)) * unit


def _largest_weights(squares: Tensor, mismatch: Tensor) -> Tensor:
    """The weight `[n, n]` up to which each cell costs no more than the pair (i, i) as given."""
    margin = squares.diagonal()[:, None] - squares
    # Without a mismatch no weight changes that: always or never.
    always = torch.where(margin >= 0, torch.inf, -torch.inf)
    return torch.where(mismatch > 0, margin / mismatch, always)
