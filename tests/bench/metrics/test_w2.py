"""W2 against sorted matching, all permutations, scipy's assignment and the closed form between
Gaussians.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from bench.data import Dataset, Split, load
from bench.evaluation.measure import measure_samples
from bench.features import pixels
from bench.metrics.contract import FeatureSpace
from bench.metrics.w2 import W2, in_the_plane, w2


def normal(n, d, seed) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 2, 5, 7])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_is_the_best_of_all_permutations(n, d):
    x, y = normal(n, d, 0), normal(n, d, 1)
    best = min((x - y[list(p)]).square().sum().item() / n for p in itertools.permutations(range(n)))
    assert w2(x, y) == pytest.approx(math.sqrt(best), rel=1e-12)


@pytest.mark.parametrize("n", [10, 301])
def test_on_a_line_it_is_sorted_matching(n):
    x, y = normal(n, 1, 0), 0.3 * normal(n, 1, 1).exp()
    expected = (x.sort(0).values - y.sort(0).values).square().mean().sqrt().item()
    assert w2(x, y) == pytest.approx(expected, rel=1e-12)


def test_in_the_plane_it_is_the_exact_assignment():
    """Also where many distances are equal, on a grid, and where points are repeated."""
    grid = torch.cartesian_prod(torch.arange(12.0), torch.arange(12.0))
    for x, y in (
        (normal(400, 2, 0), 2 * normal(400, 2, 1) + 1),
        (grid, grid.flip(1) + 0.5),
        (grid, grid // 3),
    ):
        cost = cdist(x, y, "sqeuclidean")
        assert w2(x, y) == pytest.approx(
            math.sqrt(cost[linear_sum_assignment(cost)].mean()), rel=1e-12
        )


def test_between_gaussians_it_is_the_closed_form():
    """Bures: |m_x - m_y|^2 + Tr(A + B - 2 (A^1/2 B A^1/2)^1/2); 1,000 points leave an error below
    0.1.
    """
    shear_x, shear_y = (
        torch.tensor([[1.5, 0.0], [0.9, 0.5]]).double(),
        torch.tensor([[0.4, -0.3], [0.0, 1.2]]).double(),
    )
    shift = torch.tensor([2.0, -1.0]).double()
    a, b = (shear_x @ shear_x.T).numpy(), (shear_y @ shear_y.T).numpy()
    root = sqrtm(a)
    expected = math.sqrt(5 + np.trace(a + b - 2 * sqrtm(root @ b @ root)).real)
    x, y = normal(1000, 2, 0) @ shear_x.T, normal(1000, 2, 1) @ shear_y.T + shift
    assert w2(x, y) == pytest.approx(expected, abs=0.1)
    assert expected > math.sqrt(5) + 0.2  # the means alone


def test_a_shifted_copy_is_as_far_as_its_shift():
    x = normal(300, 2, 0)
    assert w2(x, x) == 0
    assert w2(x, x + torch.tensor([3.0, 4.0])) == pytest.approx(5, rel=1e-12)
    assert w2(x, x[torch.randperm(300, generator=torch.Generator().manual_seed(0))]) == 0


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1.0, 1e6, 1e20])
def test_units_and_order_do_not_matter(scale):
    x, y = normal(200, 2, 0), 0.5 * normal(200, 2, 1)
    assert w2(scale * x, scale * y) == pytest.approx(scale * w2(x, y), rel=1e-9)
    assert w2(y, x) == pytest.approx(w2(x, y), rel=1e-12)
    assert w2(scale * x + 10 * scale, scale * y + 10 * scale) == pytest.approx(
        scale * w2(x, y), rel=1e-9
    )


def test_float32_points_are_taken_in_float64():
    x, y = normal(100, 2, 0).float(), normal(100, 2, 1).float()
    assert w2(x, y) == w2(x.double(), y.double())


def test_a_far_outlier_does_not_blur_the_rest():
    x = normal(100, 2, 0)
    y = x.clone()
    y[0] += 1e6
    assert w2(x, y) == pytest.approx(math.sqrt(2 * 1e12 / 100), rel=1e-4)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (torch.zeros(3, 2), torch.zeros(4, 2)),
        (torch.zeros(3, 2), torch.zeros(3, 1)),
        (torch.zeros(0, 2), torch.zeros(0, 2)),
        (torch.zeros(3), torch.zeros(3)),
    ],
)
def test_refuses_sets_that_have_no_matching(x, y):
    with pytest.raises(ValueError, match="same shape"):
        w2(x, y)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_points_that_are_not_finite_make_nan(bad):
    x = torch.tensor([[0.0, bad], [1.0, 1.0]])
    assert math.isnan(w2(x, torch.zeros(2, 2)))
    assert math.isnan(w2(torch.zeros(2, 2), x))


@pytest.fixture
def points() -> Dataset:
    splits = (
        Split(normal(n, 2, n).float().reshape(-1, 2, 1, 1), torch.zeros(n).long())
        for n in (120, 70)
    )
    return Dataset("points", *splits, num_classes=1, bounded=False)


def measure(dataset, samples, metric=W2, chunk=16):
    """Values, and the number of points behind them."""
    space = FeatureSpace(pixels.load(dataset, None, "cpu"), dataset)
    (measured,) = measure_samples(space, [metric], len(samples), iter(samples.split(chunk)))
    return measured.compute(), measured.count("w2")


@pytest.mark.parametrize("n", [30, 70, 100])
def test_measures_as_many_samples_as_points_from_the_front(points, n):
    """Whatever the chunks."""
    samples = normal(n, 2, 5).float().reshape(-1, 2, 1, 1)
    found, count = measure(points, samples)
    size = min(n, 70)
    assert count == size
    assert list(found) == [("w2", "train"), ("w2", "test"), ("w2_floor", None)]
    for split in ("train", "test"):
        real = getattr(points, split).images.flatten(1)
        assert found["w2", split] == w2(samples.flatten(1)[:size], real[:size])
    assert found == measure(points, samples, chunk=n)[0]


def test_floor_is_the_mean_over_disjoint_sets(points):
    train, test = points.train.images.flatten(1), points.test.images.flatten(1)
    # 10 held-out points are left over
    squares = [w2(train[i : i + 30], test[i : i + 30]) ** 2 for i in (0, 30)]
    found, _ = measure(points, points.train.images[:30])
    assert found["w2_floor", None] == pytest.approx(math.sqrt(sum(squares) / 2), rel=1e-12)


def test_no_more_points_or_pairs_than_the_limits(points):
    class Limited(W2):
        most_points = 20
        most_pairs = 1

    train, test = points.train.images.flatten(1), points.test.images.flatten(1)
    found, count = measure(points, points.train.images[20:], Limited)
    assert count == 20
    assert found["w2_floor", None] == pytest.approx(w2(train[:20], test[:20]), rel=1e-12)
    assert found["w2", "test"] == w2(train[20:40], test[:20])


def test_which_data_are_points_in_the_plane(points):
    assert in_the_plane(points)
    assert in_the_plane(load("moons"))
    assert in_the_plane(load("eight-gaussians"))
    assert not in_the_plane(load("digits"))
