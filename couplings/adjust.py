"""Changes to the solution of any batch coupling: pair exchanges, random pairs, fresh noise."""

import re
from dataclasses import replace

import torch

from couplings import swaps
from couplings.errors import require
from couplings.pool import Jitter, Pairing, Pool

NOTHING = "none"
REFINE = re.compile(r"swap:([1-9]\d*)")


def passes_of(refine: str, name: str) -> int:
    """The passes of an option `refine` of the coupling `name`; 0 for none.

    Raises:
        CouplingError: the option is neither none nor swap:K.

    """
    if refine == NOTHING:
        return 0
    match = REFINE.fullmatch(refine)
    require(
        match is not None,
        f"{name}: refine must be none or swap:K with K passes above 0, got {refine!r}",
    )
    return int(match[1])


def require_generator(generator: torch.Generator | None, what: str) -> None:
    """Refuse to adjust a solution without a source of randomness."""
    require(
        generator is not None,
        f"{what} draws at random: pass generator=torch.Generator().manual_seed(seed)",
    )


def refined(solved: Pairing, pool: Pool, passes: int) -> Pairing:
    """The permutation after passes of pair exchanges; they lower squared L2, whatever was solved.

    The pool needs a generator. Its report adds `swap_rate`, see `couplings.swaps.improve`.
    """
    if not passes:
        return solved
    index, report = swaps.improve(pool.images, pool.noise, solved.index, pool.generator, passes)
    added = {"swap_rate": report["swap_rate"]}
    # The solver's own saving is that of the pairs before.
    return replace(solved, index=index.cpu(), report=solved.report | added, saving=None)


def mixed(solved: Pairing, pool: Pool, share: float) -> Pairing:
    """The pairing with round(share n) of its pairs, drawn at random, permuted among themselves.

    Their plan is (1 - share) P + share / n^2 up to O(1 / n), for a solved plan P; every noise
    sample is used as often as before. The pool needs a generator.
    """
    generator = pool.generator
    n = len(solved.index)
    count = round(share * n)
    # A single pair has none to be permuted with.
    if count < 2:
        return solved
    order = torch.randperm(n, generator=generator, device=generator.device).cpu()
    chosen = order[:count].sort().values
    index = solved.index.clone()
    # The order drawn is a uniform permutation of the chosen pairs, too.
    index[chosen] = solved.index[order[:count]]
    return replace(solved, index=index, saving=None)


def drawn_jitter(share: float, generator: torch.Generator | None, what: str) -> Jitter | None:
    """The jitter of a pool, whose seed is drawn; None for a share of 0."""
    if not share:
        return None
    require_generator(generator, what)
    # The seed travels between processes instead of the noise.
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return Jitter(share, int(seed))
