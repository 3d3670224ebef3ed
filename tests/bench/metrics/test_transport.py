import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance

from bench.metrics._transport import mass_error, transport


def points(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_equal_weights_are_an_assignment():
    x, y = points(60, 3), points(60, 3, 1) + 1
    cost = torch.cdist(x.double(), y.double()).square().numpy()
    rows, columns = linear_sum_assignment(cost)
    assert transport(x, y) == pytest.approx(cost[rows, columns].mean())
    assert transport(x.reshape(60, 3, 1, 1), y) == pytest.approx(cost[rows, columns].mean())


def test_a_shift_is_its_length_squared():
    x = points(40, 4)
    assert transport(x, x + torch.tensor([3.0, 0, 4.0, 0])) == pytest.approx(25, rel=1e-5)


def test_mass_error_on_two_points():
    """On {0, 1} squared distance is distance, for which scipy knows the answer."""
    targets, mass = torch.tensor([[0.0], [1.0]]), torch.tensor([30, 70])
    expected = wasserstein_distance([0, 1], [0, 1], [0.3, 0.7], [0.5, 0.5])
    assert mass_error(mass, targets) == pytest.approx(expected)
    assert mass_error(torch.tensor([50, 50]), targets) == pytest.approx(0, abs=1e-12)
    # With squares many short moves are cheaper than a long one: 0 to 1 and 1 to 2, not 0 to 2.
    assert mass_error(
        torch.tensor([2, 1, 0]), torch.tensor([[0.0], [1.0], [2.0]])
    ) == pytest.approx(2 / 3)


def test_mass_error_is_no_more_than_moving_the_surplus():
    targets, mass = points(50, 2), torch.rand(50, generator=torch.Generator().manual_seed(3))
    surplus = (mass / mass.sum() - 1 / 50).clamp_min(0).sum()
    assert 0 < mass_error(mass, targets) <= surplus * torch.cdist(targets, targets).max() ** 2


def test_refusals():
    with pytest.raises(ValueError, match="1 to 5000"):
        transport(points(5001, 1), points(2, 1))
    with pytest.raises(ValueError, match="sum to 1"):
        transport(points(2, 1), points(2, 1), torch.ones(2))
    assert np.isfinite(transport(points(1, 1), points(2, 1)))


def test_one_point_that_is_not_finite_makes_nan():
    x = points(40, 4)
    x[3, 1] = math.nan
    assert math.isnan(transport(x, points(40, 4, 1)))
    assert math.isnan(transport(points(40, 4, 1), x))
