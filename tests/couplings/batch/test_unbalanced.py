import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import chisquare

from couplings import CouplingError, get
from couplings.batch.unbalanced import log_unbalanced, relative_distances
from couplings.plan import import_pot


def dense(log_plan) -> torch.Tensor:
    return torch.cat(list(log_plan.split(len(log_plan))))


def plain_log_plan(cost: torch.Tensor, rho: float, tolerance: float) -> tuple[np.ndarray, int]:
    """The plan by plain log-domain sweeps with the best shift after each, in numpy, and their
    number.
    """
    c = cost.numpy()
    damping = rho / (1 + rho)
    log_n = math.log(len(cost))
    f = np.zeros(len(c))
    for sweeps in range(1, 100_000):
        before = f
        g = -damping * (logsumexp(f[:, None] - c, axis=0) - log_n)
        f = -damping * (logsumexp(g - c, axis=1) - log_n)
        shift = rho / 2 * (logsumexp(-f / rho) - logsumexp(-g / rho))
        f = f + shift
        g = g - shift
        if np.abs(f - before).max() <= tolerance:
            return f[:, None] + g - c - 2 * log_n, sweeps
    raise AssertionError("no convergence")


def spoil(images: torch.Tensor, noise: torch.Tensor, how: str) -> None:
    """Move single images or noise samples so far that the kernel of their rows or columns
    underflows.
    """
    if how == "far image":
        images[3] *= 1e3
    if how in ("far noise", "very far noise"):
        noise[4] *= 1e3 if how == "far noise" else 1e5
    if how == "far pair":
        images[3] += 1e3
        noise[4] += 1e3


@pytest.mark.parametrize("how", ["plain", "far image", "far noise", "very far noise", "far pair"])
@pytest.mark.parametrize(("epsilon", "mass"), [(0.3, 0.1), (0.05, 1.0), (0.05, 10.0), (0.02, 1.0)])
def test_plain_sweeps_in_the_log_domain_give_the_same_plan(pool, how, epsilon, mass):
    images, noise = (x.flatten(1) for x in pool(30, (1, 16, 16)))
    spoil(images, noise, how)
    cost = relative_distances(images, noise) / epsilon
    solved, iterations = log_unbalanced(cost, mass / epsilon, 1e-9, 20_000)
    expected, _ = plain_log_plan(cost, mass / epsilon, 1e-9)
    assert iterations < 20_000
    # The logs, too: a column that underflows in the kernel keeps its digits.
    assert dense(solved).numpy() == pytest.approx(expected, rel=1e-8, abs=1e-5)
    assert (
        np.abs(dense(solved).exp().numpy() - np.exp(expected)).sum()
        <= 1e-6 * np.exp(expected).sum()
    )


@pytest.mark.parametrize(("epsilon", "ratio"), [(0.05, 0.5), (0.03, 0.4)])
def test_momentum_saves_iterations(pool, epsilon, ratio):
    images, noise = (x.flatten(1) for x in pool(128, (1, 16, 16)))
    cost = relative_distances(images, noise) / epsilon
    _, iterations = log_unbalanced(cost, 10 / epsilon, 1e-4, 5000)
    assert iterations < ratio * plain_log_plan(cost, 10 / epsilon, 1e-4)[1]


def test_the_drawn_noise_follows_the_rows_of_the_plan_not_its_marginal(pool, seeded):
    """Every image draws one noise sample, however much of its mass the plan moves."""
    n = 12
    times = 300
    generator = seeded(0)
    images, noise = pool(n)
    images[:4] *= 3
    unbalanced = get("unbalanced:epsilon=1,mass=0.3")
    drawn = torch.stack(
        [unbalanced.pair(images, noise, generator=generator).index for _ in range(times)]
    )
    counts = torch.bincount(drawn.flatten(), minlength=n).double().numpy()
    plan = dense(
        log_unbalanced(relative_distances(images.flatten(1), noise.flatten(1)), 0.3, 1e-10, 10_000)[
            0
        ]
    ).exp()
    rows = (plan / plan.sum(1, keepdim=True)).mean(0)
    marginal = plan.sum(0) / plan.sum()
    assert chisquare(counts, n * times * rows.numpy()).pvalue > 1e-3
    assert chisquare(counts, n * times * marginal.numpy()).pvalue < 1e-6


@pytest.mark.parametrize("rho", [0.3, 2.0, 20.0])
def test_pots_unbalanced_plan(pool, rho):
    n = 25
    epsilon = 0.5
    images, noise = (x.flatten(1) for x in pool(n))
    cost = relative_distances(images, noise)
    log_plan, _ = log_unbalanced(cost / epsilon, rho / epsilon, 1e-10, 100_000)
    uniform = np.full(n, 1 / n)
    expected = import_pot().unbalanced.sinkhorn_unbalanced(
        uniform,
        uniform,
        cost.numpy(),
        epsilon,
        rho,
        reg_type="kl",
        numItermax=100_000,
        stopThr=1e-12,
    )
    assert dense(log_plan).exp().numpy() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_a_large_mass_costs_few_iterations_more(pool):
    cost = relative_distances(*(x.flatten(1) for x in pool(64))) / 0.3
    few, many = (log_unbalanced(cost, rho, 1e-8, 100_000)[1] for rho in (10, 10_000))
    assert many < 3 * few


def test_a_large_mass_penalty_is_sinkhorn(pool, seeded):
    images, noise = pool(48)
    balanced = get("sinkhorn:epsilon=0.3,replace=true").pair(images, noise, generator=seeded(0))
    loose, tight = (
        get(f"unbalanced:epsilon=0.3,mass={mass},max_iterations=100000").pair(
            images, noise, generator=seeded(0)
        )
        for mass in (0.1, 1000)
    )
    assert (tight.index == balanced.index).float().mean() > 0.95
    assert tight.report["entropy"] == pytest.approx(balanced.report["entropy"], abs=0.01)
    assert tight.report["marginal_error"] < 0.05 < loose.report["marginal_error"]
    assert loose.report["transported"] < tight.report["transported"] == pytest.approx(1, abs=0.02)


def test_no_convergence_is_refused(pool, seeded):
    with pytest.raises(CouplingError, match="no convergence in 3 iterations"):
        get("unbalanced:max_iterations=3").pair(*pool(48), generator=seeded(0))
    with pytest.raises(CouplingError, match="mass must be above 0"):
        get("unbalanced:mass=0")


def test_a_far_noise_is_hardly_used(pool, seeded):
    images, noise = pool(30)
    noise[4] *= 20
    index = get("unbalanced:mass=0.2").pair(images, noise, generator=seeded(0)).index
    assert not torch.isin(4, index)
