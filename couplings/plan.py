"""Transport plans `[n, n]` in the log domain: their marginals, their entropy and draws from them.

All of it goes through a plan a block of rows at a time, so a plan may be a tensor, or a `LogPlan`
that computes its rows when they are asked for and is never held whole.
"""

import math
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor

from couplings.errors import CouplingError, require
from couplings.extras import needed_by
from couplings.pool import Pairing, Pool

# Cells of a matrix handled at a time, 32 MB in float64, or 512 MB where a GPU wants larger
# products.
BLOCK = 2**22
CUDA_BLOCK = 2**26
# Fewer rows than this would read all the noise from memory for next to no work on it.
FEWEST_ROWS = 64
# A draw without replacement is an assignment on the n x n matrix: 2 GiB and minutes at this n.
LARGEST_ASSIGNMENT = 2**14


class Rows(Protocol):
    """A matrix `[n, n]` float64 that can be read a block of rows at a time, as a tensor can."""

    @property
    def is_cuda(self) -> bool:
        """True if the blocks are on a GPU."""

    def __len__(self) -> int:
        """The number n of rows."""

    def split(self, rows: int, /) -> Iterable[Tensor]:
        """Blocks `[rows, n]` from the top, the last of which may be shorter."""


@dataclass(frozen=True, eq=False)
class LogPlan:
    """log P = f + g - cost, for potentials `[n]` float64 in units of eps."""

    f: Tensor
    g: Tensor
    cost: Rows

    @property
    def is_cuda(self) -> bool:
        """True if the blocks are on a GPU."""
        return self.f.is_cuda

    def __len__(self) -> int:
        return len(self.f)

    def split(self, rows: int) -> Iterator[Tensor]:
        """Blocks `[rows, n]` of log P."""
        for f, block in zip(self.f.split(rows), self.cost.split(rows), strict=True):
            yield f[:, None] + self.g - block


@dataclass(frozen=True)
class Summary:
    """The result of one pass through a plan.

    Attributes:
        entropy: see `entropy`.
        marginal_error: see `marginal_error`.
        complete: True if every row and every column has mass.

    """

    entropy: float
    marginal_error: float
    complete: bool


def blocks(matrix: Rows) -> Iterator[Tensor]:
    """The matrix as blocks `[rows, n]` of as many rows as the memory budget allows."""
    cells = CUDA_BLOCK if matrix.is_cuda else BLOCK
    yield from matrix.split(max(FEWEST_ROWS, cells // len(matrix)))


def summarise(log_plan: Rows) -> Summary:
    """The marginals and the entropy of a plan of total mass 1."""
    rows = []
    peaks = []  # of the rows, and at the end of the columns
    columns = None
    column_peaks = None
    entropy_sum = 0.0
    for block in blocks(log_plan):
        plan = block.exp()
        rows.append(plan.sum(1))
        peaks.append(block.amax(1))
        # `entr` is 0 where the plan has no mass; -p log p would be NaN.
        entropy_sum += float(torch.special.entr(plan).sum())
        if columns is None:
            columns = plan.sum(0)
            column_peaks = block.amax(0)
        else:
            columns = columns + plan.sum(0)
            column_peaks = torch.maximum(column_peaks, block.amax(0))
    n = len(log_plan)
    errors = [float((mass - 1 / n).abs().sum()) for mass in (columns, torch.cat(rows))]
    return Summary(
        entropy=max(0.0, entropy_sum / math.log(n) - 1),
        marginal_error=max(errors),
        # By the largest logarithm, because a small mass may underflow.
        complete=bool(torch.isfinite(torch.cat([column_peaks, *peaks])).all()),
    )


def entropy(log_plan: Rows) -> float:
    """The renormalised entropy H(P) / log n - 1 (arXiv 2506.05526).

    It is 0 for a permutation and 1 for independence.
    """
    return summarise(log_plan).entropy


def marginal_error(log_plan: Rows) -> float:
    """The larger L1 distance of a marginal of the plan from the uniform one.

    0 is feasible, 2 the worst.
    """
    return summarise(log_plan).marginal_error


def pairing_from_plan(
    log_plan: Rows, pool: Pool, replace: bool, summary: Summary | None = None, **report: float
) -> Pairing:
    """Draw a pairing from a plan and report the plan's entropy and marginal error.

    Args:
        log_plan: `[n, n]` float64, log P with total mass 1; -inf where the plan has no mass.
        pool: the pool, for its generator.
        replace: see `draw`.
        summary: that of the plan, if it is known already.
        report: further entries, such as `iterations`.

    Raises:
        CouplingError: a row or a column of the plan lost its mass, or a generator is missing.

    """
    summary = summary or summarise(log_plan)
    require(summary.complete, "the plan lost the mass of an image or a noise: raise epsilon")
    report |= {"entropy": summary.entropy, "marginal_error": summary.marginal_error}
    return Pairing(draw(log_plan, pool.generator, replace), report)


def draw(log_plan: Rows, generator: torch.Generator | None, replace: bool) -> Tensor:
    """An index `[n]` into the columns, drawn from the plan.

    With `replace` every row draws its column independently from P[i] / sum P[i], so a column may
    come twice or never. That takes a block of rows at a time.

    Without, the draw is the permutation that maximises sum_i log P[i, s(i)] + G[i, s(i)] with
    independent standard Gumbel G (perturb-and-MAP; the Gumbel-matching law of Mena et al. 2018,
    arXiv 1802.08665). A permutation plan gives that permutation and a uniform plan a uniform
    permutation. In between, the law of one row is close to P[i] but not equal: likely cells come up
    to a fifth too often. A sequential draw would cost several per cent of the transport gain
    instead, because its last rows must take what is left. The assignment holds one n x n matrix, 8
    n^2 bytes of host memory, and is refused above `LARGEST_ASSIGNMENT`.

    Raises:
        CouplingError: a plan that is no permutation and no generator, no permutation within the
            plan, or too large a one.

    """
    if all(_has_one_cell_per_row(block) for block in blocks(log_plan)):
        return torch.cat([block.argmax(1) for block in blocks(log_plan)])
    require(
        generator is not None,
        "a soft plan is drawn from: pass generator=torch.Generator().manual_seed(seed)",
    )
    n = len(log_plan)
    noisy = (block + gumbel(block, generator) for block in blocks(log_plan))
    if replace:
        # The Gumbel-max trick: the arg max of a row has exactly the law of that row.
        return torch.cat([block.argmax(1) for block in noisy])
    check_assignable(n)
    score = torch.empty(n, n, dtype=torch.float64, device="cpu")
    done = 0
    for block in noisy:
        score[done : done + len(block)] = block
        done += len(block)
    return _best_permutation(score)


def gumbel(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise in the shape and on the device of `[rows, n]` float64."""
    noise = torch.empty(like.shape, dtype=torch.float64, device=generator.device)
    # Row by row: one call for several rows would give other numbers, and the draw must not depend
    # on the blocks.
    for row in noise:
        row.exponential_(generator=generator)
    return noise.log_().neg_().to(like.device)


def check_assignable(n: int) -> None:
    """Refuse a draw without replacement from a plan that is too large for it."""
    require(
        n <= LARGEST_ASSIGNMENT,
        f"a draw without replacement from {n} x {n} cells is an assignment that takes"
        f" {8 * n * n / 2**30:.0f} GiB and hours: pass replace=true, or pools of at most"
        f" {LARGEST_ASSIGNMENT}",
    )


def import_pot() -> ModuleType:
    """POT, imported without the jax that it would import too if it could.

    jax takes seconds and GPU memory and makes forks warn.

    Raises:
        CouplingError: POT is not installed.

    """
    with needed_by("exact transport"):
        return _pot()


def _pot() -> ModuleType:
    switch = "POT_BACKEND_DISABLE_JAX"
    # A switch that a user has set stays, and one set here must not reach other programs.
    if "jax" in sys.modules or "ot" in sys.modules or switch in os.environ:
        import ot
    else:
        os.environ[switch] = "1"
        try:
            import ot
        finally:
            del os.environ[switch]
    return ot


def _has_one_cell_per_row(block: Tensor) -> bool:
    return bool(((block > -math.inf).sum(1) == 1).all())


def _best_permutation(score: Tensor) -> Tensor:
    """The permutation `[n]` of largest total score `[n, n]`, which is overwritten."""
    from scipy.optimize import linear_sum_assignment

    try:
        # Negated in place: with maximize=True SciPy would negate a copy.
        _, columns = linear_sum_assignment(score.neg_().numpy())
    except ValueError as error:
        raise CouplingError(
            f"the plan does not hold a permutation ({error}): raise epsilon or replace=true"
        ) from error
    return torch.from_numpy(columns)
