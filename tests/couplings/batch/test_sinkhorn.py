"""All Sinkhorns: the same plan, the right epsilon, and no quiet failure."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from couplings import CouplingError, get, plan
from couplings.batch import _entropic as entropic
from couplings.batch._entropic import RelativeCost, relative_cost
from couplings.batch.sinkhorn import log_sinkhorn
from couplings.plan import entropy, marginal_error

SOLVERS = ["sinkhorn:backend=torch", "sinkhorn:backend=pot", "ott-sinkhorn:replace=false"]


def reference_log_plan(images, noise, epsilon: float) -> torch.Tensor:
    """Plain log-domain Sinkhorn in numpy, run to convergence on -<x, y> / (epsilon std)."""
    cost = -(images.flatten(1).double().numpy() @ noise.flatten(1).double().numpy().T)
    cost = cost / (epsilon * cost.std())
    n = len(cost)
    f = np.zeros((n, 1))
    g = np.zeros((1, n))
    for _ in range(3000):
        g = -np.log(n) - logsumexp(f - cost, axis=0, keepdims=True)
        f = -np.log(n) - logsumexp(g - cost, axis=1, keepdims=True)
    return torch.from_numpy(f + g - cost)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("epsilon", [1, 0.1, 0.05])
def test_entropy_is_that_of_the_plan_at_the_relative_epsilon(pool, seeded, name, epsilon):
    images, noise = pool(48)
    report = get(f"{name},epsilon={epsilon}").pair(images, noise, generator=seeded(0)).report
    expected = entropy(reference_log_plan(images, noise, epsilon))
    assert report["entropy"] == pytest.approx(expected, abs=2e-3)
    assert report["marginal_error"] <= 1e-3


@pytest.mark.parametrize("name", ["sinkhorn:backend=torch", "ott-sinkhorn:replace=false"])
def test_image_costs_do_not_underflow_to_independence(pool, seeded, name):
    """On image costs an absolute epsilon underflows, and normalising by the maximum gives entropy
    0.995.
    """
    images, noise = pool(256, (3, 32, 32))
    entropies = []
    for epsilon in (1, 0.3, 0.1, 0.03):
        report = get(f"{name},epsilon={epsilon}").pair(images, noise, generator=seeded(0)).report
        entropies.append(report["entropy"])
        assert report["cost_after"] < report["cost_before"]
    assert entropies == sorted(entropies, reverse=True)
    low = np.array([0.85, 0.4, 0.1, 0.02])
    high = np.array([0.99, 0.85, 0.5, 0.25])
    assert (np.array(entropies) > low).all()
    assert (np.array(entropies) < high).all()


@pytest.mark.parametrize("name", SOLVERS)
def test_a_small_epsilon_comes_near_the_optimum_and_a_large_one_near_random(pool, seeded, name):
    images, noise = pool(128, (3, 8, 8))
    exact = get("hungarian").pair(images, noise).report
    gain = exact["cost_before"] - exact["cost_after"]

    def share(epsilon):
        report = get(f"{name},epsilon={epsilon}").pair(images, noise, generator=seeded(0)).report
        return (report["cost_before"] - report["cost_after"]) / gain

    assert 0.99 < share(0.02) <= 1 + 1e-9
    assert abs(share(1000)) < 0.2


@pytest.mark.parametrize("name", SOLVERS)
def test_epsilon_is_relative(pool, seeded, name):
    images, noise = pool(32)
    entropies = [
        get(name).pair(images * scale, noise, generator=seeded(0)).report["entropy"]
        for scale in (1, 1e-4, 1e4)
    ]
    assert entropies == pytest.approx([entropies[0]] * 3, abs=1e-4)


@pytest.mark.parametrize("name", SOLVERS)
def test_equal_costs_give_the_independent_plan(seeded, name):
    images = torch.full((32, 5), 0.3)
    noise = torch.full((32, 5), -1.7)
    pairing = get(name).pair(images, noise, generator=seeded(0))
    assert pairing.report["entropy"] == pytest.approx(1)
    assert sorted(pairing.index.tolist()) == list(range(32))


@pytest.mark.parametrize("name", SOLVERS)
def test_no_convergence_is_an_error_with_the_way_out(pool, seeded, name):
    with pytest.raises(CouplingError, match=r"marginal error .* raise epsilon or max_iterations"):
        get(f"{name},epsilon=0.001,max_iterations=20").pair(*pool(48), generator=seeded(0))


@pytest.mark.parametrize("name", SOLVERS)
def test_replacement_repeats_noises(pool, seeded, name):
    images, noise = pool(64)
    with_replacement = replace(get(name), epsilon=1, replace=True)
    pairing = with_replacement.pair(images, noise, generator=seeded(0))
    assert not with_replacement.permutes
    assert get(name).permutes
    assert pairing.report["duplicates"] == pytest.approx(1 - len(pairing.index.unique()) / 64)
    assert 0.1 < pairing.report["duplicates"] < 0.6


def test_the_cost_is_centred_and_in_units_of_its_deviation(pool):
    images, noise = (x.flatten(1) for x in pool(40))
    images += 3  # the deviation is that of <x, y> itself, whose column means this widens
    product = images.double().numpy() @ noise.double().numpy().T
    expected = (
        -(product - product.mean(0) - product.mean(1, keepdims=True) + product.mean())
        / product.std()
        / 0.1
    )
    kept = relative_cost(images, noise, 0.1).matrix()
    assert np.abs(kept.numpy() - expected).max() < 1e-9
    recomputed = relative_cost(images, noise, 0.1, whole=0).matrix()
    assert torch.allclose(recomputed, kept, rtol=0, atol=1e-10)


@pytest.mark.parametrize("replace", ["true", "false"])
@pytest.mark.parametrize("whole", [0, 8192])
def test_neither_blocks_of_rows_nor_recomputed_costs_change_anything(
    pool, seeded, monkeypatch, replace, whole
):
    images, noise = pool(50)
    coupling = get(f"sinkhorn:epsilon=0.1,replace={replace}")
    expected = coupling.pair(images, noise, generator=seeded(0))
    monkeypatch.setattr(plan, "BLOCK", 50 * 7)
    monkeypatch.setattr(plan, "FEWEST_ROWS", 1)
    monkeypatch.setattr(entropic, "WHOLE", whole)
    parts = coupling.pair(images, noise, generator=seeded(0))
    assert torch.equal(expected.index, parts.index)
    for key in ("iterations", "entropy", "marginal_error"):
        assert parts.report[key] == pytest.approx(expected.report[key], rel=1e-6)


@pytest.mark.parametrize("whole", [0, 8192])
def test_no_matrix_is_held_where_the_cost_is_recomputed(
    pool, seeded, monkeypatch, largest_tensor, whole
):
    n = 300
    rows = 20
    images, noise = pool(n)
    monkeypatch.setattr(plan, "BLOCK", n * rows)
    monkeypatch.setattr(plan, "FEWEST_ROWS", 1)
    monkeypatch.setattr(entropic, "WHOLE", whole)
    with largest_tensor as largest:
        get("sinkhorn:epsilon=0.3,replace=true").pair(images, noise, generator=seeded(0))
    assert largest.elements == (n * n if whole else max(n * rows, images.numel()))


def test_a_draw_without_replacement_from_too_many_is_refused_at_once(seeded):
    """Before anything is solved: the matrix of this pool alone would take 2 GB."""
    points = torch.zeros(plan.LARGEST_ASSIGNMENT + 1, 1)
    with pytest.raises(CouplingError, match="replace=true"):
        get("sinkhorn").pair(points, points, generator=seeded(0))
    get("sinkhorn").check_count(plan.LARGEST_ASSIGNMENT)
    get("sinkhorn:replace=true").check_count(len(points))


def smooth_images(n: int, generator: torch.Generator) -> torch.Tensor:
    """Gaussian images `[n, 3, 32, 32]` whose amplitudes fall as 1 / frequency, as those of
    photographs do.
    """
    frequency = torch.fft.fftfreq(32) * 32
    amplitude = 1 / (1 + (frequency.square()[:, None] + frequency.square()).sqrt())
    images = torch.fft.ifft2(
        torch.fft.fft2(torch.randn(n, 3, 32, 32, generator=generator)) * amplitude
    ).real
    return 0.5 * images / images.std()


def test_entropies_of_smooth_images(seeded):
    generator = seeded(0)
    images = smooth_images(384, generator)
    noise = torch.randn(images.shape, generator=generator)
    for epsilon, expected in ((1, 0.92), (0.3, 0.47), (0.1, 0.17), (0.03, 0.08)):
        report = get(f"sinkhorn:epsilon={epsilon}").pair(images, noise, generator=generator).report
        assert report["entropy"] == pytest.approx(expected, abs=0.03)


def plain_iterations(cost: np.ndarray, tolerance: float) -> int:
    """The iterations that Sinkhorn needs from zero potentials without momentum, in NumPy."""
    g = np.zeros(len(cost))
    for iterations in range(1, 10_000):
        share = np.exp(g - cost - logsumexp(g - cost, axis=1, keepdims=True)).sum(0)
        if np.abs(share - 1).mean() <= tolerance:
            return iterations
        g = g - np.log(share)
    raise AssertionError("no convergence")


@pytest.mark.parametrize(("epsilon", "ratio"), [(0.1, 0.8), (0.01, 0.25)])
def test_momentum_saves_iterations(pool, epsilon, ratio):
    images, noise = (x.flatten(1) for x in pool(128))
    cost = relative_cost(images, noise, epsilon)
    solved, iterations = log_sinkhorn(cost, 5e-4, 5000)
    assert marginal_error(solved) <= 5e-4 * (1 + 1e-6)
    assert iterations < ratio * plain_iterations(cost.matrix().numpy(), 5e-4)


@pytest.mark.parametrize("kept", [True, False])
def test_a_column_without_mass_gets_it_back(seeded, kept):
    """A shift of a column of the cost moves its potential and nothing else, though its mass starts
    at e^-3000.
    """
    n = 32
    x = torch.randn(n, n, dtype=torch.float64, generator=seeded(0))
    shifted = torch.cat([x, torch.full((n, 1), -1.0, dtype=torch.float64)], 1)
    y = torch.cat([torch.eye(n, dtype=torch.float64), torch.zeros(n, 1, dtype=torch.float64)], 1)
    y[3, -1] = 3000.0
    cost = RelativeCost(shifted, y)
    cost = RelativeCost(shifted, y, cost.matrix()) if kept else cost
    solved, iterations = log_sinkhorn(cost, 1e-8, 500)
    expected, _ = log_sinkhorn(RelativeCost(x, torch.eye(n, dtype=torch.float64), -x), 1e-8, 500)
    assert iterations < 500
    whole = torch.cat(list(solved.split(n)))
    assert torch.allclose(whole.exp(), torch.cat(list(expected.split(n))).exp(), rtol=0, atol=1e-8)


def test_all_solvers_draw_the_same_pairing(pool, seeded):
    images, noise = pool(64)
    first, *others = (
        get(f"{name},epsilon=0.2,tolerance=1e-4").pair(images, noise, generator=seeded(5)).index
        for name in SOLVERS
    )
    assert all((first == other).float().mean() > 0.9 for other in others)
