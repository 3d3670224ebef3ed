"""The pairing of another coupling, shuffled: a placebo that costs what the coupling costs."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from couplings.contract import Coupling, Pairing, Pool, require


@dataclass(frozen=True, kw_only=True)
class Permuted(Coupling):
    """Independent pairs, by a random permutation of another coupling's pairing.

    The coupling solves every pool as it would in a run of its own, with the same draws, memory and
    time, and its report is kept. Then the noise samples of the whole pool are permuted at random.
    Nothing but the pairing differs from the coupling, and nothing but chance from `random`: any
    claim about it is a wrong one.

    Options:
        of: spec of a batch coupling that uses every noise sample once, with at most one option of
            its own, as a comma would end it: `permuted:of=sinkhorn:epsilon=0.1`.

    Cost: that of the coupling.

    Source: none; the usual permutation control, as in Fisher 1935, "The Design of Experiments".
    """

    deterministic: ClassVar[bool] = False
    independent: ClassVar[bool] = True

    of: str = "lapjv"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            isinstance(self.solver, Coupling),
            f"permuted: {self.of} has no pairing of a pool: take a coupling of a pool",
        )
        # With noise samples that come twice it would be no placebo: its noise has another law.
        require(
            self.solver.permutes,
            f"permuted: {self.of} does not use every noise sample once: take one that does",
        )
        require(
            not self.solver.independent,
            f"permuted: the pairs of {self.of} are independent already: take a coupling that solves"
            " pools, such as lapjv",
        )
        require(
            not self.solver.follows_model,
            f"permuted: {self.of} follows the network that learns from its pairs, and would here"
            " follow one that learns from others: take another coupling",
        )

    @cached_property
    def solver(self) -> Coupling:
        """The coupling whose pairing is permuted."""
        # Imported late: the registry imports the contract, as this file does.
        from couplings.registry import get

        return get(self.of)

    def peak_bytes(self, n: int, d: int) -> int:
        """That of the coupling."""
        return self.solver.peak_bytes(n, d)

    def solved_at_once(self, n: int, labels: Tensor | None = None) -> int:
        """As of the coupling, which with `within_class` gets one class of the pool at a time."""
        if self.within_class:
            return self.solver.solved_at_once(super().solved_at_once(n, labels))
        return self.solver.solved_at_once(n, labels)

    def check_values(self, d: int) -> None:
        """Refuse what the coupling refuses."""
        self.solver.check_values(d)

    def check_count(self, n: int) -> None:
        """Refuse what the coupling refuses."""
        # Its solver has the limits of the coupling's own run.
        self.solver.check_count(n)

    def solve(self, pool: Pool) -> Pairing:
        """The pairing of the coupling, with its report, permuted."""
        require(
            pool.generator is not None,
            f"{self} draws a permutation: pass generator=torch.Generator()",
        )
        solved = self.solver.solve_checked(pool)
        n = len(pool.images)
        # After the coupling, whose own draws are then those of a run without the permutation.
        order = torch.randperm(n, generator=pool.generator, device=pool.generator.device)
        # Without its saving, which is that of the pairs before.
        return replace(solved, index=solved.index[order.to(solved.index.device)], saving=None)
