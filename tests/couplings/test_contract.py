"""The contract of every batch coupling.

A new file in couplings/batch is tested by itself, and a coupling in a module of your own by

    python -m pytest tests/couplings/test_contract.py --coupling my_project.nearest
"""

import math
import pickle
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from couplings import Coupling, CouplingError, Pairing, get, names
from couplings.contract import Saving
from tests.ready import ready

CLAIMS = (
    "exact_noise_marginal",
    "exact_data_marginal",
    "uses_labels",
    "deterministic",
    "independent",
)
N = 24


def pytest_generate_tests(metafunc):
    if "coupling" in metafunc.fixturenames:
        specs = metafunc.config.getoption("--coupling", default=None) or names("batch")
        metafunc.parametrize("coupling", specs, indirect=True)


@pytest.fixture
def coupling(request):
    return ready(request.param)


@pytest.fixture
def pair(coupling, seeded):
    """Pair with labels and a generator, so that couplings which need them run as well."""

    def run(images, noise, seed=0):
        return coupling.pair(
            images, noise, labels=torch.arange(len(images)) % 3, generator=seeded(seed)
        )

    return run


def squared_distance(images, noise) -> float:
    difference = images.detach().double().numpy() - noise.detach().double().numpy()
    return float((difference.reshape(len(difference), -1) ** 2).sum(1).mean())


def is_permutation(index) -> bool:
    return sorted(index.tolist()) == list(range(len(index)))


def test_claims_are_stated(coupling):
    assert all(isinstance(getattr(type(coupling), claim), bool) for claim in CLAIMS)
    assert type(coupling).__doc__
    assert coupling.spec == str(coupling)
    assert coupling.spec.partition(":")[0] == coupling.name
    assert get(coupling.spec) == coupling


def test_index_and_report(coupling, pair, pool):
    images, noise = pool(N)
    pairing = pair(images, noise)
    index = pairing.index
    report = pairing.report
    assert index.dtype == torch.int64
    assert index.shape == (N,)
    assert index.device == images.device
    assert index.min() >= 0
    assert index.max() < N
    if coupling.exact_noise_marginal:
        assert coupling.permutes
        assert is_permutation(index)
    assert all(type(value) is float and math.isfinite(value) for value in report.values())
    assert report["cost_before"] == pytest.approx(squared_distance(images, noise), rel=1e-5)
    assert report["cost_after"] == pytest.approx(squared_distance(images, noise[index]), rel=1e-5)
    assert report["seconds"] >= 0
    assert report["converged"] == 1.0
    assert report["duplicates"] == pytest.approx(1 - len(set(index.tolist())) / N)


@pytest.mark.parametrize("n", [0, 1])
def test_tiny_pools_are_the_identity(pair, pool, n):
    pairing = pair(*pool(n))
    assert pairing.index.tolist() == list(range(n))
    assert pairing.index.dtype == torch.int64
    assert all(math.isfinite(value) for value in pairing.report.values())


def test_two_images(pair, pool, coupling):
    index = pair(*pool(2)).index
    assert not coupling.permutes or is_permutation(index)


def test_generator_decides(coupling, pair, pool, seeded):
    images, noise = pool(N)
    assert torch.equal(pair(images, noise, seed=3).index, pair(images, noise, seed=3).index)
    if coupling.deterministic:
        labels = torch.arange(N) % 3
        assert torch.equal(coupling.pair(images, noise, labels).index, pair(images, noise).index)
    else:
        draws = {tuple(pair(images, noise, seed=seed).index.tolist()) for seed in range(8)}
        assert len(draws) > 1
        with pytest.raises(CouplingError, match="generator"):
            coupling.pair(images, noise, torch.arange(N) % 3)


def test_labels(coupling, pool, seeded):
    images, noise = pool(N)
    labels = torch.arange(N) % 3
    kept = labels.clone()
    with_labels = coupling.pair(images, noise, labels, seeded(0)).index
    assert torch.equal(labels, kept)
    if not coupling.uses_labels:
        assert torch.equal(with_labels, coupling.pair(images, noise, generator=seeded(0)).index)


def test_inputs_stay_and_no_graph_is_kept(pair, pool):
    images, noise = pool(N)
    expected = pair(images, noise)
    kept = images.clone(), noise.clone()
    pairing = pair(images.requires_grad_(), noise.requires_grad_())
    assert torch.equal(images, kept[0])
    assert torch.equal(noise, kept[1])
    assert torch.equal(pairing.index, expected.index)
    assert images.grad is None


def test_global_randomness_stays(pair, pool):
    of_torch = torch.get_rng_state()
    of_numpy = pickle.dumps(np.random.get_state())  # noqa: NPY002
    of_python = random.getstate()
    pair(*pool(N))
    assert torch.equal(torch.get_rng_state(), of_torch)
    assert pickle.dumps(np.random.get_state()) == of_numpy  # noqa: NPY002
    assert random.getstate() == of_python


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(pair, pool, dtype):
    images, noise = (x.to(dtype) for x in pool(N))
    assert torch.equal(pair(images, noise).index, pair(images.float(), noise.float()).index)


@pytest.mark.parametrize("double", [0, 1])
def test_images_and_noise_of_different_dtypes(pair, pool, double):
    images, noise = pool(N)
    mixed = [x.double() if which == double else x for which, x in enumerate((images, noise))]
    pairing = pair(*mixed)
    assert torch.equal(pairing.index, pair(images, noise).index)
    assert pairing.report["cost_after"] == pytest.approx(
        squared_distance(images, noise[pairing.index]), rel=1e-5
    )


def test_layouts_and_shapes(pair, pool):
    images, noise = pool(N)
    expected = pair(images, noise).index
    strided = torch.stack([images, images], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    assert torch.equal(pair(strided, noise.to(memory_format=torch.channels_last)).index, expected)
    assert torch.equal(pair(images.flatten(1), noise.flatten(1)).index, expected)
    assert pair(images[:, 0, 0, 0], noise[:, 0, 0, 0]).index.shape == (N,)


def test_autocast_does_not_reach_the_costs(pair, pool):
    images, noise = pool(N)
    expected = pair(images, noise).index
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pair(images, noise).index, expected)


@pytest.mark.parametrize("same", ["images", "noise", "both"])
def test_constant_costs(coupling, pair, pool, same):
    images, noise = pool(N)
    images = images[:1].expand_as(images) if same != "noise" else images
    noise = noise[:1].expand_as(noise) if same != "images" else noise
    report = pair(images, noise).report
    assert not coupling.permutes or report["cost_after"] == pytest.approx(
        report["cost_before"], rel=1e-5
    )


def test_duplicated_rows(coupling, pair, pool):
    images, noise = pool(N)
    images = images[torch.arange(N) // 3]
    noise = noise[torch.arange(N) // 2]
    index = pair(images, noise).index
    assert not coupling.permutes or is_permutation(index)


def test_zeros(coupling, pair):
    index = pair(torch.zeros(N, 3), torch.zeros(N, 3)).index
    assert not coupling.permutes or is_permutation(index)


@pytest.mark.parametrize("power", [-66, 66])
def test_extreme_scales(pair, pool, power):
    """About 1e-20 and 1e20: a power of two rounds nothing, so the pairing stays or is refused."""
    images, noise = pool(N)
    expected = pair(images, noise)
    try:
        scaled = pair(images * 2.0**power, noise * 2.0**power)
    except CouplingError:
        return
    assert torch.equal(scaled.index, expected.index)
    assert scaled.report["cost_after"] == pytest.approx(
        expected.report["cost_after"] * 4.0**power, rel=1e-6
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("what", ["images", "noise"])
def test_non_finite_is_refused(pair, pool, bad, what):
    inputs = dict(zip(("images", "noise"), pool(N), strict=True))
    inputs[what][3, 0, 1, 1] = bad
    with pytest.raises(CouplingError, match=f"{what} hold NaN or infinity"):
        pair(**inputs)


def test_misfits_are_refused(coupling, pool, seeded):
    images, noise = pool(N)
    with pytest.raises(CouplingError, match="one shape"):
        coupling.pair(images, noise[:-1], generator=seeded(0))
    with pytest.raises(CouplingError, match="one shape"):
        coupling.pair(images, noise.flatten(1), generator=seeded(0))
    with pytest.raises(CouplingError, match="23 labels for 24 images"):
        coupling.pair(images, noise, torch.zeros(N - 1), seeded(0))
    with pytest.raises(CouplingError, match="floating point"):
        coupling.pair(images.to(torch.uint8), noise, generator=seeded(0))
    with pytest.raises(CouplingError, match="without pixels"):
        coupling.pair(images[:, :0], noise[:, :0], generator=seeded(0))
    with pytest.raises(CouplingError, match="overflow"):
        coupling.pair(images.double() * 1e200, noise, generator=seeded(0))


def test_pickled_couplings_pair_alike(coupling, pool, seeded):
    copy = pickle.loads(pickle.dumps(coupling))
    assert copy == coupling
    images, noise = pool(N)
    labels = torch.arange(N) % 3
    pairings = [each.pair(images, noise, labels, seeded(0)).index for each in (coupling, copy)]
    assert torch.equal(*pairings)


def returning(result, module="my_flow.c"):
    """A coupling in a module, whose `solve` returns a result whatever the pool."""

    def solve(self, pool):
        return result

    names = {"solve": solve, "__module__": module}
    return dataclass(frozen=True, kw_only=True)(type("Broken", (Coupling,), names))()


PROMISE = "solve() must return Pairing(index) with index [n] of 0 .. n-1, got "
REPEATED = (
    "uses noise samples more than once (2 of 3 distinct): set exact_noise_marginal = False in the"
    " class, or return a permutation"
)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (Pairing(torch.tensor([0, 0, 1])), REPEATED),
        (Pairing(torch.tensor([0, 1, 3])), PROMISE + "0 .. 3 for n = 3"),
        (Pairing(torch.tensor([-1, 0, 1])), PROMISE + "-1 .. 1 for n = 3"),
        (Pairing(torch.tensor([0, 1])), PROMISE + "[2]"),
        (Pairing(torch.eye(3)), PROMISE + "[3, 3]"),
        (Pairing(None), PROMISE + "NoneType"),
        (torch.arange(3), "solve() must return Pairing(index), got Tensor"),
        (None, "solve() must return Pairing(index), got NoneType"),
    ],
)
def test_a_solver_that_breaks_the_contract_is_refused_with_the_way_out(pool, result, message):
    with pytest.raises(CouplingError) as caught:
        returning(result).pair(*pool(3))
    assert str(caught.value) == f"my_flow.c: {message}"


def test_each_class_is_held_to_the_contract(pool):
    broken = replace(returning(Pairing(torch.tensor([0, 1, 2]))), within_class=True)
    with pytest.raises(CouplingError, match=r"my_flow\.c:within_class=true: .*0 .. n-1, got \[3\]"):
        broken.pair(*pool(4), labels=torch.tensor([0, 0, 1, 1]))


def test_only_faults_of_built_in_couplings_are_to_be_reported(pool):
    broken = returning(Pairing(torch.tensor([0, 0, 1])), "couplings.batch.broken")
    with pytest.raises(CouplingError, match="^broken: .*; please report this pool as a bug$"):
        broken.pair(*pool(3))


@pytest.mark.parametrize(
    ("saving", "believed"), [(Saving(0.5, 0.0), True), (Saving(0.5, 1e-3), False), (None, False)]
)
def test_a_saving_is_believed_only_where_it_keeps_the_digits(pool, saving, believed):
    @dataclass(frozen=True, kw_only=True)
    class Reversed(Coupling):
        def solve(self, pool):
            return Pairing(torch.arange(len(pool.images)).flip(0), saving=saving)

    images, noise = pool(N)
    report = Reversed().pair(images, noise).report
    expected = report["cost_before"] - 0.5 if believed else squared_distance(images, noise.flip(0))
    assert report["cost_after"] == pytest.approx(expected, rel=1e-6)
