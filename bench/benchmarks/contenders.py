"""Contenders of the solver benchmark: our couplings, the code of other libraries' users, a floor.

Every contender gets the same `Pool` and returns which noise sample goes with which image.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.config import ConfigError
from couplings import CouplingError, Pool, get, names
from couplings.extras import install, quiet_ott

T = TypeVar("T")

# No name of a peer can be the spec of a coupling, as they hold a space.
FLOOR = "matrix product"
TORCHCFM = "torchcfm exact"
POT = "POT emd"
SCIPY = "scipy assignment"
OTT = "OTT hungarian"
INSTALL = f"--peers needs torchcfm: {install('peers')}"
INSTALL_OTT = f"--peers needs OTT-JAX: {install('jax')}"


@dataclass(frozen=True, eq=False)
class Solved:
    """``images[rows[i]]`` goes with ``noise[columns[i]]``, ``[n]`` int64 each.

    ``converged`` is False if the solver reports that it did not; ``remark`` is its warning.
    """

    rows: Tensor
    columns: Tensor
    converged: bool = True
    remark: str = ""


@dataclass(frozen=True)
class Contender:
    """A way to pair a pool.

    Attributes:
        name: a coupling's canonical spec, or the peer's name.
        kind: ``coupling``, ``peer`` or ``floor``.
        solve: all that a training loop waits for; the floor pairs nothing and returns None.
        matrix: the cost matrix alone, by the code that ``solve`` runs; None if it has no such part.

    """

    name: str
    kind: str
    solve: Callable[[Pool], Solved | None]
    matrix: Callable[[Pool], Tensor] | None = None


def contenders(specs: Sequence[str], peers: bool) -> list[Contender]:
    """The couplings, the peers if wanted, and the floor.

    Args:
        specs: couplings; none means all batch couplings.
        peers: True for torchcfm, POT, OTT and scipy.

    Raises:
        ConfigError: an unknown coupling, one that is fitted on a data set, or torchcfm or OTT is
            not installed.

    """
    couplings = [_coupling(spec) for spec in specs or _solvable()]
    # Two spellings of one coupling are one contender.
    chosen = list({coupling.name: coupling for coupling in couplings}.values())
    if peers:
        chosen += [make() for make in _PEERS.values()]
    return [*chosen, Contender(FLOOR, "floor", _product)]


def contender(name: str) -> Contender:
    """The contender of that name, for another process to find."""
    if name == FLOOR:
        return Contender(FLOOR, "floor", _product)
    return _PEERS[name]() if name in _PEERS else _coupling(name)


def attempt(action: Callable[[Pool], T], pool: Pool) -> tuple[float, T | None, str]:
    """Run one part of a contender: its seconds, its result, and its error as one line."""
    # Every attempt draws from the start of the pool's stream, whoever drew before.
    fresh = replace(pool, generator=pool.generator.clone_state())
    result: T | None = None
    problem = ""
    start = time.perf_counter()
    try:
        result = action(fresh)
    except CouplingError as error:
        problem = str(error)
    # An error is a result: it goes into the contender's row.
    except Exception as error:  # noqa: BLE001 - see above
        problem = f"{type(error).__name__}: {error}"
    return time.perf_counter() - start, result, " ".join(problem.split())


def _coupling(spec: str) -> Contender:
    try:
        coupling = get(spec)
    except CouplingError as error:
        raise ConfigError(str(error)) from None
    if coupling.kind != "batch":
        raise ConfigError(
            f"{coupling} is fitted on a whole data set: pools are solved by"
            f" {', '.join(names('batch'))}"
        )

    if coupling.follows_model:
        raise ConfigError(
            f"{coupling} pairs by the errors of a network, and a pool has none: take couplings"
            f" without a model, such as {', '.join(_solvable())}"
        )

    # The whole of ``pair``, with its checks and its cost: a training loop waits for all of it.
    def solve(pool: Pool) -> Solved:
        pairing = coupling.pair(pool.images, pool.noise, pool.labels, pool.generator)
        return Solved(
            torch.arange(len(pairing.index)), pairing.index, bool(pairing.report["converged"])
        )

    # Within classes there is one matrix a class, which no single call makes.
    has_matrix = hasattr(coupling, "matrix") and not coupling.within_class
    return Contender(coupling.spec, "coupling", solve, coupling.matrix if has_matrix else None)


def _solvable() -> list[str]:
    """Couplings that pair a pool without a network."""
    return [name for name in names("batch") if not get(name).follows_model]


def _torchcfm() -> Contender:
    """The calls of torchcfm's matchers, but without replacement: the draw is a permutation.

    ``get_map`` and ``sample_map`` are ``sample_plan`` without its last step, the copy of the chosen
    images.
    """
    try:
        from torchcfm.optimal_transport import OTPlanSampler
    except ImportError:
        raise ConfigError(INSTALL) from None
    sampler = OTPlanSampler(method="exact")

    def solve(pool: Pool) -> Solved:
        with _remarks() as remarks, _global_numpy(pool.generator):
            plan = sampler.get_map(pool.images, pool.noise)
            rows, columns = sampler.sample_map(plan, len(pool.images), replace=False)
        return Solved(
            torch.from_numpy(rows), torch.from_numpy(columns), not remarks, "; ".join(remarks)
        )

    return Contender(TORCHCFM, "peer", solve)


def _pot() -> Contender:
    """The two lines of POT's documentation, with all defaults, also its cap on the iterations."""

    def solve(pool: Pool) -> Solved:
        import ot

        with _remarks() as remarks:
            plan = ot.emd([], [], ot.dist(pool.images.numpy(), pool.noise.numpy()))
        columns = torch.from_numpy(plan.argmax(1))
        return Solved(torch.arange(len(columns)), columns, not remarks, "; ".join(remarks))

    return Contender(POT, "peer", solve)


def _scipy() -> Contender:
    """The assignment on the squared distances as torch computes them, without any shift."""

    def solve(pool: Pool) -> Solved:
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(torch.cdist(pool.images, pool.noise).square().numpy())
        return Solved(torch.from_numpy(rows), torch.from_numpy(columns))

    return Contender(SCIPY, "peer", solve)


def _ott() -> Contender:
    """The call of OTT's tutorial on discrete problems: Kuhn's method on squared distances.

    JAX compiles it for each size in the round that warms up.
    """
    try:
        with quiet_ott():
            import jax.numpy as jnp
            from ott.geometry.pointcloud import PointCloud
            from ott.tools.unreg import hungarian
    except ImportError:
        raise ConfigError(INSTALL_OTT) from None

    def solve(pool: Pool) -> Solved:
        cloud = PointCloud(jnp.asarray(pool.images.numpy()), jnp.asarray(pool.noise.numpy()))
        _, out = hungarian(cloud)
        # A sparse matrix: each row of its indices is a pair.
        pairs = torch.from_numpy(np.array(out.matrix.indices, dtype=np.int64))
        return Solved(pairs[:, 0], pairs[:, 1])

    return Contender(OTT, "peer", solve)


_PEERS = {TORCHCFM: _torchcfm, POT: _pot, SCIPY: _scipy, OTT: _ott}


def _product(pool: Pool) -> None:
    """The float32 inner products of all images with all noise samples: 2 n^2 d operations."""
    torch.mm(pool.images, pool.noise.T)


@contextmanager
def _remarks() -> Iterator[list[str]]:
    """Warnings raised inside, one line each: peers report a failed convergence by a UserWarning."""
    remarks: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        # Python shows a warning once a place; every round must count it.
        warnings.simplefilter("always")
        yield remarks
    for warning in caught:
        # Not deprecations, which say nothing about the result.
        if issubclass(warning.category, UserWarning):
            remarks.append(" ".join(str(warning.message).split()))


@contextmanager
def _global_numpy(generator: torch.Generator | None) -> Iterator[None]:
    """Seed numpy's global stream, the only one torchcfm draws from, and put it back after."""
    seed = int(torch.randint(2**32, (), generator=generator))
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
