import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel

from bench.metrics.kid import kid, mmd2


def normal(n, d, seed, shift=0.0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def stream(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_loops(x, y) -> float:
    """The estimator as it is written, with scikit-learn's kernel."""
    # Gamma is 1 / d
    xx, yy, xy = (polynomial_kernel(a, b, degree=3, coef0=1) for a, b in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    within_x = np.mean([xx[i, j] for i in range(n) for j in range(n) if i != j])
    within_y = np.mean([yy[i, j] for i in range(m) for j in range(m) if i != j])
    return within_x + within_y - 2 * xy.mean()


@pytest.mark.parametrize(("n", "m"), [(20, 20), (15, 31), (2, 3)])
def test_is_the_estimator_written_out(n, m):
    x, y = normal(n, 6, 0).double(), normal(m, 6, 1, shift=0.4).double()
    assert mmd2(x, y).item() == pytest.approx(by_loops(x.numpy(), y.numpy()), rel=1e-9, abs=1e-12)


def test_one_subset_of_everything_is_the_whole():
    x, y = normal(30, 5, 0), normal(30, 5, 1, shift=1)
    assert kid(x, y, stream(), subsets=3, subset_size=30) == pytest.approx(
        by_loops(x.double(), y.double()), rel=1e-9
    )


def test_equal_distributions_give_zero_on_average_however_small_the_sample():
    """The biased estimator would give about 2 (E k(x, x) - E k(x, y)) / n > 0.5 here; standard
    error below 0.02.
    """
    values = [
        kid(normal(10, 4, 2 * i), normal(10, 4, 2 * i + 1), stream(i), subsets=1)
        for i in range(2000)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0


def test_closed_form_of_points_masses():
    """All of x at a, all of y at b: k(a, a) + k(b, b) - 2 k(a, b)."""
    x, y = torch.tensor([[1.0, 2.0]]).expand(5, 2), torch.tensor([[0.0, -1.0]]).expand(7, 2)
    expected = (5 / 2 + 1) ** 3 + (1 / 2 + 1) ** 3 - 2 * (-2 / 2 + 1) ** 3
    assert kid(x, y, stream()) == pytest.approx(expected, rel=1e-9)


def test_grows_with_the_distance_and_is_found_by_the_generator_alone():
    x, y = normal(200, 5, 0), normal(200, 5, 1)
    far = [kid(x, y + shift, stream(), subset_size=100) for shift in (0.0, 0.3, 1.0)]
    assert far[0] < far[1] < far[2]
    before = torch.random.get_rng_state()
    assert kid(x, y, stream(3), subset_size=50) == kid(x, y, stream(3), subset_size=50)
    assert kid(x, y, stream(3), subset_size=50) != kid(x, y, stream(4), subset_size=50)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_one_sample_is_refused():
    with pytest.raises(ValueError, match="at least two"):
        kid(normal(1, 3, 0), normal(9, 3, 1), stream())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_sample_that_is_not_finite_makes_nan_in_a_subset_or_not(bad):
    x, y = normal(400, 3, 0), normal(400, 3, 1)
    x[7, 1] = bad
    assert math.isnan(kid(x, y, stream(), subsets=1, subset_size=2))
    assert math.isnan(kid(y, x, stream(), subsets=1, subset_size=2))


def test_constant_samples_are_at_no_distance():
    constant = torch.full((30, 3), 0.7)
    assert kid(constant, constant, stream()) == pytest.approx(0, abs=1e-12)
