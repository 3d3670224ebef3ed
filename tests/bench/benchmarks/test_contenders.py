import sys
import types
import warnings
from itertools import permutations

import numpy as np
import pytest
import torch

from bench.benchmarks import contenders as peers
from bench.benchmarks.contenders import (
    FLOOR,
    OTT,
    POT,
    SCIPY,
    TORCHCFM,
    attempt,
    contender,
    contenders,
)
from bench.benchmarks.pools import Pools, pair_cost
from bench.config import ConfigError
from couplings import CouplingError, names

POOL = Pools("gauss", None, 0).draw(7, 0)


class FakeSampler:
    """OTPlanSampler's interface: a plan that is a permutation, drawn in some order from numpy's
    global stream.
    """

    def __init__(self, method):
        assert method == "exact"

    def get_map(self, x0, x1):
        warnings.warn("numItermax reached\nbefore optimality", stacklevel=1)
        return np.roll(np.eye(len(x0)), 2, axis=1) / len(x0)

    def sample_map(self, plan, size, replace=True):
        assert not replace
        cells = np.random.permutation(np.flatnonzero(plan))[:size]  # noqa: NPY002
        return np.divmod(cells, plan.shape[1])


@pytest.fixture
def torchcfm(monkeypatch):
    """A stand-in for the library, which is an extra."""
    module = types.ModuleType("torchcfm.optimal_transport")
    module.OTPlanSampler = FakeSampler
    monkeypatch.setitem(sys.modules, "torchcfm", types.ModuleType("torchcfm"))
    monkeypatch.setitem(sys.modules, "torchcfm.optimal_transport", module)


def least_cost(pool):
    return min(
        pair_cost(pool.images, pool.noise[list(order)])
        for order in permutations(range(len(pool.images)))
    )


@pytest.mark.parametrize("name", ["lapjv", POT, SCIPY])
def test_exact_contenders_find_the_best_of_all_permutations(name):
    seconds, solved, problem = attempt(contender(name).solve, POOL)
    assert (problem, solved.converged, solved.remark) == ("", True, "")
    assert seconds > 0
    cost = pair_cost(POOL.images[solved.rows], POOL.noise[solved.columns])
    assert cost == pytest.approx(least_cost(POOL), rel=1e-9)
    assert sorted(solved.columns.tolist()) == list(range(7))


def test_torchcfm_pairs_by_its_plan_and_leaves_numpys_stream_alone(torchcfm):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    solved = attempt(contender(TORCHCFM).solve, POOL)[1]
    assert {(int(r), int(c)) for r, c in zip(solved.rows, solved.columns, strict=True)} == {
        (i, (i + 2) % 7) for i in range(7)
    }
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    again = attempt(contender(TORCHCFM).solve, POOL)[1]
    assert torch.equal(solved.rows, again.rows)


def test_a_warning_of_a_peer_means_not_converged(torchcfm, monkeypatch):
    solved = attempt(contender(TORCHCFM).solve, POOL)[1]
    assert not solved.converged
    assert solved.remark == "numItermax reached before optimality"

    import ot

    emd = ot.emd
    monkeypatch.setattr(ot, "emd", lambda a, b, cost: emd(a, b, cost, numItermax=1))
    solved = attempt(contender(POT).solve, POOL)[1]
    assert not solved.converged
    assert "numItermax" in solved.remark


def test_a_deprecation_is_no_verdict():
    with peers._remarks() as remarks:
        warnings.warn("old name", DeprecationWarning, stacklevel=1)
        warnings.warn("not converged", UserWarning, stacklevel=1)
    assert remarks == ["not converged"]


def test_without_torchcfm_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcfm", None)
    monkeypatch.setitem(sys.modules, "torchcfm.optimal_transport", None)
    with pytest.raises(ConfigError, match=r"pip install .*\[peers\]"):
        contenders(["lapjv"], peers=True)
    assert [entrant.name for entrant in contenders(["lapjv"], peers=False)] == ["lapjv", FLOOR]


def test_contenders_are_all_batch_couplings_or_those_named_once_each(torchcfm):
    solvable = [name for name in names("batch") if name != "model-aligned"]
    assert [entrant.name for entrant in contenders([], peers=False)] == [*solvable, FLOOR]
    chosen = contenders(["sinkhorn:epsilon=0.05", "sinkhorn", "lapjv:cost=l2"], peers=True)
    assert [(entrant.name, entrant.kind) for entrant in chosen] == [
        ("sinkhorn", "coupling"), ("lapjv:cost=l2", "coupling"),
        (TORCHCFM, "peer"), (POT, "peer"), (SCIPY, "peer"), (OTT, "peer"),
        (FLOOR, "floor"),
    ]  # fmt: skip
    for entrant in chosen:
        assert contender(entrant.name).name == entrant.name


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("lapjw", "did you mean lapjv"),
        ("semidiscrete", "fitted on a whole data set: pools are"),
        ("model-aligned", "errors of a network, and a pool has none: take couplings without"),
    ],
)
def test_what_cannot_solve_a_pool_is_refused_in_one_line(spec, words):
    with pytest.raises(ConfigError, match=words) as caught:
        contenders([spec], peers=False)
    assert "\n" not in str(caught.value)


def test_the_matrix_is_the_couplings_own_and_only_exact_couplings_have_one():
    from couplings import get

    matrix = contender("hungarian:cost=l2").matrix(POOL)
    assert torch.equal(matrix, get("hungarian:cost=l2").matrix(POOL))
    for name in ("random", "sinkhorn", "hungarian:within_class=true", POT, FLOOR):
        assert contender(name).matrix is None


def test_what_a_contender_raises_is_one_line():
    def refuse(pool):
        raise CouplingError("too\n  hard: use another")

    def crash(pool):
        raise MemoryError("no room")

    assert attempt(refuse, POOL)[1:] == (None, "too hard: use another")
    assert attempt(crash, POOL)[1:] == (None, "MemoryError: no room")


def test_every_attempt_draws_from_the_start_of_the_pools_stream():
    def first(pool):
        return torch.rand(3, generator=pool.generator)

    assert torch.equal(attempt(first, POOL)[1], attempt(first, POOL)[1])


def test_the_floor_pairs_nothing():
    assert attempt(contender(FLOOR).solve, POOL)[1:] == (None, "")
