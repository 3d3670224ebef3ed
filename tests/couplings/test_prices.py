"""Prices of noise samples: they keep the optimum and leave a solver little to do."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from couplings import Pool, get
from couplings.prices import (
    LEAST,
    MOST,
    NARROWING,
    WIDE,
    assign,
    entropic_prices,
    epsilons,
    subtract_prices,
)


def costs(n, d, seeded, outliers=0) -> np.ndarray:
    images, noise = (torch.randn(n, d, generator=seeded(seed)) for seed in (0, 1))
    images[:outliers] += 1e4
    return (images @ noise.T).neg().numpy()


def total(cost, matrix) -> float:
    return float(cost.astype(np.float64)[linear_sum_assignment(matrix)].sum())


@pytest.mark.parametrize("d", [1, 2, 4, 64])
@pytest.mark.parametrize("stretch", [1.0, 1e-6, 1e12])
@pytest.mark.parametrize("outliers", [0, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_prices_keep_the_optimum(seeded, d, stretch, outliers, dtype):
    """Also where a few images are far away, out of reach of the kernel."""
    cost = costs(60, d, seeded, outliers)
    priced = cost.astype(dtype) * dtype(stretch)
    subtract_prices(priced, NARROWING)
    assert (priced.min(1) == 0).all()
    assert total(cost, priced) == pytest.approx(total(cost, cost), rel=1e-6)


@pytest.mark.parametrize(("d", "without", "with_prices"), [(2, 0.2, 0.6), (300, 0.67, 0.75)])
def test_prices_leave_the_solver_few_rows(seeded, d, without, with_prices):
    """More rows have their cheapest column for themselves."""
    cost = costs(300, d, seeded)
    priced = cost.copy()
    subtract_prices(priced, epsilons(300, d))
    assert len(set(cost.argmin(1))) < without * len(cost)
    assert len(set(priced.argmin(1))) > with_prices * len(cost)


def test_prices_are_near_the_dual_optimum(seeded):
    """The dual value of prices v is sum_i min_j (c_ij - v_j) + sum_j v_j, at most the optimum."""
    cost = costs(256, 2, seeded).astype(np.float64)
    prices = entropic_prices(cost, NARROWING)
    dual = (cost - prices).min(1).sum() + prices.sum()
    without = cost.min(1).sum()
    optimum = total(cost, cost)
    assert optimum - dual >= -1e-6 * abs(optimum)
    assert optimum - dual < 0.01 * (optimum - without)


def test_equal_costs_have_no_price():
    cost = np.full((5, 5), 3.0, dtype=np.float32)
    subtract_prices(cost, NARROWING)
    assert (cost == 3).all()


@pytest.mark.parametrize("solver", ["lapjv", "hungarian"])
def test_prices_are_those_of_the_components_solved_in(seeded, solver):
    """Two components are a plane, however many pixels the images have."""
    images, noise = (torch.randn(200, 64, generator=seeded(seed)) for seed in (0, 1))
    priced = get(f"{solver}:project=pca:2").matrix(Pool(images, noise)).numpy()
    assert len(set(priced.argmin(1))) > 0.6 * 200


def test_where_prices_pay():
    assert epsilons(LEAST, 2) == NARROWING
    assert epsilons(LEAST, 3072) == WIDE
    assert epsilons(LEAST - 1, 3072) == epsilons(MOST + 1, 2) == ()


@pytest.mark.parametrize("spec", ["lapjv", "hungarian", "minibatch-ot", "lapjv:cost=l2"])
def test_priced_pools_of_the_plane_reach_the_optimum(seeded, spec):
    images, noise = (torch.randn(300, 2, generator=seeded(seed)) for seed in (0, 1))
    distances = torch.cdist(images.double(), noise.double())
    cost = distances.numpy() if "l2" in spec else distances.square().numpy()
    index = get(spec).pair(images, noise).index
    assert cost[np.arange(300), index].sum() == pytest.approx(total(cost, cost), rel=1e-6)


@pytest.mark.parametrize("n", [1, 2, 60, 300])
@pytest.mark.parametrize("steps", [(), NARROWING])
def test_an_assignment_is_a_permutation_of_least_total_cost(seeded, n, steps):
    cost = costs(n, 2, seeded).astype(np.float64)
    columns = assign(cost.copy(), steps)
    assert sorted(columns) == list(range(n))
    assert cost[np.arange(n), columns].sum() == pytest.approx(total(cost, cost), rel=1e-12)


@pytest.mark.parametrize("weight", [0.0, 3.0, 1e6])
@pytest.mark.parametrize("d", [2, 64])
def test_priced_pools_with_conditions_reach_the_optimum(seeded, weight, d):
    """Also under a weight beside which squared distances are small."""
    images, noise = (torch.randn(300, d, generator=seeded(seed)) for seed in (0, 1))
    conditions = torch.randn(300, 1, generator=seeded(2)).double()
    mismatch = (conditions - conditions.T).square()
    cost = torch.cdist(images.double(), noise.double()).square() + weight * mismatch
    coupling = get(f"conditional-cost:weight={weight},distance=squared")
    index = coupling.pair(images, noise, labels=conditions).index
    reached = float(cost[torch.arange(300), index].sum())
    assert reached == pytest.approx(total(cost.numpy(), cost.numpy()), rel=1e-9)
