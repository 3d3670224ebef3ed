"""Transport plans `[n, n]` in the log domain: their marginals, their entropy and draws from them."""

import math
import os
import sys
from types import ModuleType

import torch
from torch import Tensor

from couplings.contract import CouplingError, Pairing, Pool, require


def pairing_from_plan(log_plan: Tensor, pool: Pool, replace: bool, **report: float) -> Pairing:
    """Draw a pairing from a plan and report the plan's entropy and marginal error.

    Args:
        log_plan: `[n, n]` float64, log P with total mass 1; -inf where the plan has no mass.
        pool: the pool, for its generator.
        replace: see `draw`.
        report: further entries, such as `iterations`.

    Raises:
        CouplingError: a row or a column of the plan lost its mass, or a generator is missing.

    """
    kept = torch.isfinite(log_plan.logsumexp(0)) & torch.isfinite(log_plan.logsumexp(1))
    require(bool(kept.all()), "the plan lost the mass of an image or a noise: raise epsilon")
    report |= {"entropy": entropy(log_plan), "marginal_error": marginal_error(log_plan)}
    return Pairing(draw(log_plan, pool.generator, replace), report)


def entropy(log_plan: Tensor) -> float:
    """Renormalised entropy H(P) / log n - 1, 0 for a permutation, 1 for independence (arXiv 2506.05526)."""
    return max(0.0, float(torch.special.entr(log_plan.exp()).sum()) / math.log(len(log_plan)) - 1)


def marginal_error(log_plan: Tensor) -> float:
    """The larger L1 distance of a marginal of the plan from the uniform one; 0 is feasible, 2 the worst."""
    plan, weight = log_plan.exp(), 1 / len(log_plan)
    return max(float((plan.sum(axis) - weight).abs().sum()) for axis in (0, 1))


def draw(log_plan: Tensor, generator: torch.Generator | None, replace: bool) -> Tensor:
    """An index `[n]` into the columns, drawn from the plan.

    With `replace` every row draws its column by itself from P[i] / sum P[i], so a column may come twice or
    never.

    Without, the draw is the permutation that maximises sum_i log P[i, s(i)] + G[i, s(i)] with independent
    standard Gumbel G (perturb-and-MAP; the Gumbel-matching law of Mena et al. 2018, arXiv 1802.08665). A
    permutation plan gives that permutation and a uniform plan a uniform permutation. In between, the law of
    one row is close to P[i] but not equal: likely cells come up to a fifth too often. A sequential draw would
    cost several per cent of the transport gain instead, because its last rows must take what is left.

    Raises:
        CouplingError: something to draw and no generator, or no permutation within the plan.

    """
    log_plan = log_plan.cpu()
    if bool(((log_plan > -math.inf).sum(1) == 1).all()):
        return log_plan.argmax(1)
    require(generator is not None, "a soft plan is drawn from: pass generator=torch.Generator().manual_seed(seed)")
    noisy = log_plan + gumbel(len(log_plan), generator)
    return noisy.argmax(1) if replace else _best_permutation(noisy)


def gumbel(n: int, generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise `[n, n]` float64 on the CPU, drawn on the generator's device."""
    exponential = torch.empty(n, n, dtype=torch.float64, device=generator.device).exponential_(generator=generator)
    return -exponential.log().cpu()


def _best_permutation(score: Tensor) -> Tensor:
    from scipy.optimize import linear_sum_assignment

    try:
        _, columns = linear_sum_assignment(score.numpy(), maximize=True)
    except ValueError as error:
        raise CouplingError(f"no permutation lies within the plan ({error}): raise epsilon or replace=true") from error
    return torch.from_numpy(columns)


def import_pot() -> ModuleType:
    """POT without the jax it imports when it can, which takes seconds and GPU memory and makes forks warn."""
    switch = "POT_BACKEND_DISABLE_JAX"
    if "jax" in sys.modules or "ot" in sys.modules or switch in os.environ:
        import ot
    else:
        os.environ[switch] = "1"
        try:
            import ot
        finally:
            del os.environ[switch]
    return ot
