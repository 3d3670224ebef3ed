"""All Sinkhorns: the same plan, the right epsilon, and no quiet failure."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from couplings import CouplingError, get, sinkhorn
from couplings.plan import entropy

SOLVERS = ["sinkhorn:backend=torch", "sinkhorn:backend=pot", "ott-sinkhorn:replace=false"]


def reference_log_plan(images, noise, epsilon: float) -> torch.Tensor:
    """Plain log-domain Sinkhorn in numpy, run to convergence on -<x, y> / (epsilon std)."""
    cost = -(images.flatten(1).double().numpy() @ noise.flatten(1).double().numpy().T)
    cost, n = cost / (epsilon * cost.std()), len(cost)
    f, g = np.zeros((n, 1)), np.zeros((1, n))
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
    """On image costs an absolute epsilon underflows, and normalising by the maximum gives entropy 0.995."""
    images, noise = pool(256, (3, 32, 32))
    entropies = []
    for epsilon in (1, 0.3, 0.1, 0.03):
        report = get(f"{name},epsilon={epsilon}").pair(images, noise, generator=seeded(0)).report
        entropies.append(report["entropy"])
        assert report["cost_after"] < report["cost_before"]
    assert entropies == sorted(entropies, reverse=True)
    low, high = np.array([0.85, 0.4, 0.1, 0.02]), np.array([0.99, 0.85, 0.5, 0.25])
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
        get(name).pair(images * scale, noise, generator=seeded(0)).report["entropy"] for scale in (1, 1e-4, 1e4)
    ]
    assert entropies == pytest.approx([entropies[0]] * 3, abs=1e-4)


@pytest.mark.parametrize("name", SOLVERS)
def test_equal_costs_give_the_independent_plan(seeded, name):
    images, noise = torch.full((32, 5), 0.3), torch.full((32, 5), -1.7)
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


def test_blocks_of_rows_change_nothing(pool, seeded, monkeypatch):
    images, noise = pool(50)
    whole = get("sinkhorn").pair(images, noise, generator=seeded(0))
    monkeypatch.setattr(sinkhorn, "BLOCK", 50 * 7)
    parts = get("sinkhorn").pair(images, noise, generator=seeded(0))
    assert torch.equal(whole.index, parts.index)
    assert parts.report["marginal_error"] == pytest.approx(whole.report["marginal_error"], rel=1e-6)


def test_all_solvers_draw_the_same_pairing(pool, seeded):
    images, noise = pool(64)
    first, *others = (
        get(f"{name},epsilon=0.2,tolerance=1e-4").pair(images, noise, generator=seeded(5)).index for name in SOLVERS
    )
    assert all((first == other).float().mean() > 0.9 for other in others)
