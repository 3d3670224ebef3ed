"""The contract of a batch coupling: a pool of images and noise samples in, an index out."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from couplings import adjust, cost, memory
from couplings._options import WithOptions
from couplings.classes import largest_class, pair_within_classes
from couplings.errors import CouplingError, require
from couplings.model import Model, Velocity
from couplings.pool import Pairing, Pool, Saving, check_pool, not_finite

__all__ = ["Coupling", "CouplingError", "Pairing", "Pool", "Saving", "require"]

# Less memory than this is always taken to be there.
SMALL_BYTES = 2**28
# Relative error up to which a solver's own saving replaces a second pass over the data.
SAVING_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Coupling(WithOptions, ABC):
    """A batch coupling: a frozen dataclass whose fields are its options, and one method, `solve`.

    The class variables state what the coupling keeps at its default options; the contract tests
    check them. `python -m couplings` shows them with the docstring, whose paragraphs `Options:`,
    `Cost:` and `Source:` it finds by these words.

    Options:
        within_class: solve for one label at a time: noise j counts as of the class of image j. The
            noise then stays independent of the label, as it is when a class is sampled; a pairing
            that ignores labels makes it depend on the label (arXiv 2403.05069, Sec. 4.2).
        refine: `swap:K` lowers the squared L2 of the solution by K passes of pair exchanges, as
            `swap` does from random pairs; for permutations that ignore labels
            and are not random.
        mix: the share of the pairs, 0 to 1, that is permuted at random afterwards: the pairing goes
            from that of the solver to a random one, and uses the same noise samples.
        jitter: the share b, 0 to 1, of fresh noise: image i goes with sqrt(1 - b) z + sqrt(b) e for
            its noise sample z and e from N(0, I). The noise stays standard normal, and the pairing
            goes to a random one (arXiv 2502.12456). `Pairing.of(noise)` gives the result.
    """

    kind: ClassVar[str] = "batch"
    exact_noise_marginal: ClassVar[bool] = True  # every noise sample is used exactly once
    exact_data_marginal: ClassVar[bool] = True  # every image is used exactly once
    uses_labels: ClassVar[bool] = False  # the labels change the pairing
    deterministic: ClassVar[bool] = True  # needs no generator
    independent: ClassVar[bool] = False  # its pairs are independent, with any options
    weighs_losses: ClassVar[bool] = False  # a trainer must apply `Pairing.weights`
    follows_model: ClassVar[bool] = False  # the network in training decides its pairs, see `using`
    model: ClassVar[Model | None] = None

    within_class: bool = False
    refine: str = adjust.NOTHING
    mix: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        # Exchanges would undo what labels, chance or a network have decided.
        by_other_costs = self.uses_labels or self.independent or self.follows_model
        is_free = self.permutes and not by_other_costs
        require(
            adjust.passes_of(self.refine, self.name) == 0 or is_free,
            f"{self.name}: refine={self.refine} exchanges the noise samples of a permutation by"
            " their distances alone, so pairs would no longer be what this coupling says: leave it"
            " out (random pairs, refined, are swap)",
        )
        for option in ("mix", "jitter"):
            share = getattr(self, option)
            require(0 <= share <= 1, f"{self.name}: {option} must be in [0, 1], got {share}")
            require(
                not (share and self.independent),
                f"{self.name}: its pairs are independent, with {option} too: leave {option} out",
            )

    @abstractmethod
    def solve(self, pool: Pool) -> Pairing:
        """Pair a pool of n >= 2.

        The index may be on any device; the report holds only what is natural to this coupling.

        Raises:
            CouplingError: the solver failed; never a fallback to another pairing.

        """

    def using(self, velocity: Velocity, progress: float | Callable[[], float] = 1.0) -> Self:
        """A copy that has the network in training, for couplings with `follows_model`.

        Args:
            velocity: of the network, with the weights of the step that takes the pairs.
            progress: the share of the training that is done, 0 to 1, or a function that returns it.

        Raises:
            CouplingError: the coupling needs no model, or the velocity is no function.

        """
        require(self.follows_model, f"{self} follows no model: call its pair as it is")
        require(
            callable(velocity),
            f"{self}: velocity must be a function velocity(state, t, labels), not {velocity!r}",
        )
        following = replace(self)
        # No option: the spec is the same with any model.
        object.__setattr__(following, "model", Model(velocity, progress))
        return following

    @property
    def permutes(self) -> bool:
        """True if, with these options, the index is always a permutation."""
        return self.exact_noise_marginal

    def peak_bytes(self, n: int, d: int) -> int:
        """A low estimate of the memory of `solve` for n images of d values, in bytes.

        The pool itself does not count. 0, the default, promises nothing: no pool is refused before
        an allocation fails.
        """
        return 0

    def solved_at_once(self, n: int, labels: Tensor | None = None) -> int:
        """The largest number of images that `solve` gets at once from a pool of n.

        Args:
            n: images of the pool.
            labels: of any number of images with the class shares of the pool; None if unknown.

        """
        return largest_class(n, labels) if self.within_class else n

    def check_count(self, n: int) -> None:  # noqa: B027 - most solvers have no such limit
        """Refuse more images at once than the solver can handle on any machine.

        Raises:
            CouplingError: with the limit and the way out.

        """

    def check_values(self, d: int) -> None:  # noqa: B027 - most solvers take images of any size
        """Refuse images of d values that the options do not suit, before anything is trained.

        Raises:
            CouplingError: with the way out.

        """

    def check_size(
        self,
        n: int,
        d: int,
        labels: Tensor | None = None,
        device: torch.device | str = "cpu",
        held: int = 0,
        available: float | None = None,
    ) -> None:
        """Refuse a pool that the solver cannot count or that memory cannot hold.

        Nothing is allocated for it.

        Args:
            n: images of the pool.
            d: values of an image.
            labels: of the pool, or of the training set that it is drawn from.
            device: where the pool is.
            held: bytes that the pool itself will take, if it is not in memory yet.
            available: bytes; asked of the system by default.

        Raises:
            CouplingError: with the sizes and the way out.

        """
        at_once = self.solved_at_once(n, labels)
        self.check_count(at_once)
        needed = held + self.peak_bytes(at_once, d)
        if available is None:
            # Asking the system takes longer than coupling a small pool.
            is_small = needed <= SMALL_BYTES
            available = math.inf if is_small else memory.available_bytes(device)
        memory.check_fits(str(self), at_once, needed, available)

    def pair(
        self,
        images: Tensor,
        noise: Tensor,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Pairing:
        """Choose a noise sample for every image of a pool.

        Args:
            images: `[n, ...]`, any floating dtype, device and layout; never modified, and no graph
                is kept.
            noise: the same shape and device.
            labels: `[n]` or `[n, k]`; only couplings with `uses_labels` or `within_class` look at
                them.
            generator: needed unless the coupling is `deterministic`.

        Raises:
            CouplingError: inputs do not fit or are not finite, a generator is missing, memory
                cannot hold the pool, or the solver failed.

        """
        with memory.shortage_explained(str(self), len(images)):
            pool = check_pool(images, noise, labels, generator)
            return self._pair(pool, noise)

    def _pair(self, pool: Pool, noise: Tensor) -> Pairing:
        """`pair` for a checked pool of this noise; the index is returned on its device."""
        # Before the clock starts: the cost of the pool as given is not the solver's work. It also
        # finds values that are not finite without another pass over the data.
        cost_before = cost.mean_pair_cost(pool.images, pool.noise)
        if not math.isfinite(cost_before):
            raise not_finite(pool)
        start = time.perf_counter()
        solved = self.solve_checked(pool)
        index = torch.as_tensor(solved.index, device="cpu")
        seconds = time.perf_counter() - start
        duplicates = self._share_of_duplicates(index)
        # After the solver, whose own draws are then those of a run without jitter.
        jitter = adjust.drawn_jitter(self.jitter, pool.generator, str(self))
        if jitter is None:
            cost_after = _cost_after(pool, index, cost_before, solved.saving)
        else:
            paired = Pairing(index.to(pool.noise.device), jitter=jitter).of(pool.noise)
            cost_after = cost.mean_pair_cost(pool.images, paired)
        report = {
            "cost_before": cost_before,
            "cost_after": cost_after,
            "seconds": seconds,
            "converged": 1.0,
            "duplicates": duplicates,
        }
        report |= {key: float(value) for key, value in solved.report.items()}
        weights = None if solved.weights is None else solved.weights.to(noise.device)
        return Pairing(
            index.to(noise.device), report, weights=weights, jitter=jitter, given_noise=noise
        )

    def solve_checked(self, pool: Pool) -> Pairing:
        """`solve` for a checked pool of any size, within classes if asked for.

        The index `[n]` int64 is on the CPU and stays in the pool.

        Raises:
            CouplingError: memory cannot hold the pool, or the solver failed.

        """
        n = len(pool.images)
        require(
            not self.follows_model or self.model is not None,
            f"{self} pairs by the errors of the network in training: hand it over,"
            f" get({self.spec!r}).using(velocity, progress=step / steps).pair(images, noise), with"
            " velocity(state, t, labels)",
        )
        if n < 2:
            # A pair by itself has a weight of 1.
            weights = torch.ones(n, device="cpu") if self.weighs_losses else None
            return Pairing(torch.arange(n, device="cpu"), weights=weights)
        self.check_size(n, pool.images.shape[1], pool.labels, pool.images.device)
        # Under autocast the cost matrix would be computed in half precision.
        with torch.no_grad(), torch.autocast(pool.images.device.type, enabled=False):
            if self.within_class:
                return pair_within_classes(pool, self._solve_once)
            return self._solve_once(pool)

    def _solve_once(self, pool: Pool) -> Pairing:
        """`solve`, with an index `[n]` int64 on the CPU that stays in the pool."""
        solved = self.solve(pool)
        if not isinstance(solved, Pairing):
            raise self._refused(f"solve() must return Pairing(index), got {type(solved).__name__}")
        index = self._checked_index(solved.index, len(pool.images))
        solved = replace(solved, index=index)
        if self.refine == adjust.NOTHING and not self.mix:
            return solved
        adjust.require_generator(pool.generator, str(self))
        solved = adjust.refined(solved, pool, adjust.passes_of(self.refine, self.name))
        return adjust.mixed(solved, pool, self.mix)

    def _checked_index(self, given: object, n: int) -> Tensor:
        """An index `[n]` int64 on the CPU; refuses one that is no tensor or leaves the pool."""
        promise = "solve() must return Pairing(index) with index [n] of 0 .. n-1, got"
        try:
            index = torch.as_tensor(given, dtype=torch.int64, device="cpu")
        except (TypeError, ValueError, RuntimeError):
            raise self._refused(f"{promise} {type(given).__name__}") from None
        if index.shape != (n,):
            raise self._refused(f"{promise} {list(index.shape)}")
        # NumPy's minimum of a small array takes a fraction of the time of torch's.
        columns = index.numpy()
        least = columns.min()
        most = columns.max()
        # A negative index would silently count from the end.
        if least < 0 or most >= n:
            raise self._refused(f"{promise} {least} .. {most} for n = {n}")
        return index

    def _share_of_duplicates(self, index: Tensor) -> float:
        """The share of repeated noise samples; refuses an index that breaks the promise."""
        n = len(index)
        if not n:
            return 0.0
        # Counting is several times faster than sorting, as `unique` does.
        distinct = int(np.count_nonzero(np.bincount(index.numpy())))
        if self.permutes and distinct < n:
            raise self._refused(
                f"uses noise samples more than once ({distinct} of {n} distinct): set"
                " exact_noise_marginal = False in the class, or return a permutation"
            )
        return 1 - distinct / n

    def _refused(self, reason: str) -> CouplingError:
        """The error for a solver that breaks the contract, for whoever can mend it."""
        # Users cannot mend a coupling of this repository.
        is_built_in = type(self).__module__.startswith("couplings.")
        way_out = "; please report this pool as a bug" if is_built_in else ""
        return CouplingError(f"{self}: {reason}{way_out}")


def _cost_after(pool: Pool, index: Tensor, cost_before: float, saving: Saving | None) -> float:
    """The mean squared distance as paired: by the solver's saving if that is accurate enough.

    Skipping the second pass over the data saves a fifth of the time of a pool of 128.
    """
    if saving is not None:
        cost_after = cost_before - saving.mean
        # The sum of float32 squares is itself good to about 2^-23.
        error = saving.error + cost_before * 2.0**-23
        if error <= SAVING_TOLERANCE * cost_after:
            return cost_after
    return cost.mean_pair_cost(pool.images, pool.noise, index.to(pool.images.device))
