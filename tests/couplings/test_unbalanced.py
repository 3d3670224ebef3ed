import numpy as np
import pytest
import torch

from couplings import CouplingError, get
from couplings.plan import import_pot
from couplings.unbalanced import log_unbalanced, relative_distances


@pytest.mark.parametrize("rho", [0.3, 2.0, 20.0])
def test_pots_unbalanced_plan(pool, rho):
    n, epsilon = 25, 0.5
    images, noise = (x.flatten(1) for x in pool(n))
    cost = relative_distances(images, noise)
    log_plan, _ = log_unbalanced(cost / epsilon, rho / epsilon, 1e-10, 100_000)
    uniform = np.full(n, 1 / n)
    expected = import_pot().unbalanced.sinkhorn_unbalanced(
        uniform, uniform, cost.numpy(), epsilon, rho, reg_type="kl", numItermax=100_000, stopThr=1e-12
    )
    assert log_plan.exp().numpy() == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_a_large_mass_costs_few_iterations_more(pool):
    cost = relative_distances(*(x.flatten(1) for x in pool(64))) / 0.3
    few, many = (log_unbalanced(cost, rho, 1e-8, 100_000)[1] for rho in (10, 10_000))
    assert many < 3 * few


def test_a_large_mass_penalty_is_sinkhorn(pool, seeded):
    images, noise = pool(48)
    balanced = get("sinkhorn:epsilon=0.3,replace=true").pair(images, noise, generator=seeded(0))
    loose, tight = (
        get(f"unbalanced:epsilon=0.3,mass={mass},max_iterations=100000").pair(images, noise, generator=seeded(0))
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
