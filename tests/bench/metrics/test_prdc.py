import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from bench.metrics import prdc as module
from bench.metrics.prdc import prdc, radii


def normal(n, d, seed, scale=1.0, shift=0.0) -> torch.Tensor:
    return scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def by_loops(real, generated, k):
    """The four definitions, sample by sample, with scikit-learn's neighbours."""
    real, generated = real.double().numpy(), generated.double().numpy()

    def ball(x):  # the first neighbour of a point of the set is the point itself
        return (
            NearestNeighbors(n_neighbors=k + 1, algorithm="kd_tree").fit(x).kneighbors(x)[0][:, k]
        )

    real_ball, generated_ball = ball(real), ball(generated)
    gap = np.array([[np.linalg.norm(x - y) for y in generated] for x in real])
    precision = np.mean([(gap[:, j] <= real_ball).any() for j in range(len(generated))])
    recall = np.mean([(gap[i] <= generated_ball).any() for i in range(len(real))])
    density = np.mean([(gap[:, j] <= real_ball).sum() / k for j in range(len(generated))])
    coverage = np.mean([gap[i].min() <= real_ball[i] for i in range(len(real))])
    return pytest.approx((precision, recall, density, coverage), abs=1e-12)


def four(real, generated, k=5):
    found = prdc(real, generated, k)
    return found.precision, found.recall, found.density, found.coverage


@given(
    n=st.integers(7, 40),
    m=st.integers(7, 40),
    k=st.integers(1, 6),
    seed=st.integers(0, 99),
    scale=st.floats(0.3, 3),
)
def test_agrees_with_the_definitions(n, m, k, seed, scale):
    real, generated = normal(n, 3, seed), normal(m, 3, seed + 100, scale, shift=0.3)
    assert four(real, generated, k) == by_loops(real, generated, k)


@pytest.mark.parametrize("rows", [1, 7, 50])
def test_does_not_depend_on_the_chunk(rows, monkeypatch):
    real, generated = normal(50, 4, 0), normal(40, 4, 1)
    whole = four(real, generated)
    monkeypatch.setattr(module, "_ROWS", rows)
    assert four(real, generated) == whole


def test_one_mode_of_two_is_precise_and_recalls_half():
    real = torch.cat([normal(100, 2, 0), normal(100, 2, 1, shift=50)])
    one = normal(200, 2, 2, scale=0.5)
    precision, recall, density, coverage = four(real, one)
    assert precision == 1
    assert recall <= 0.5
    assert coverage <= 0.5
    assert density > 1
    backwards = four(one, real)
    assert (backwards[0], backwards[1]) == (recall, precision)  # the two are each other's mirror


def test_far_away_is_nothing_and_a_copy_is_everything():
    real = normal(60, 3, 0)
    assert four(real, normal(60, 3, 1, shift=100)) == (0, 0, 0, 0)
    precision, recall, _, coverage = four(real, real.clone())
    assert (precision, recall, coverage) == (1, 1, 1)


def test_density_is_one_on_average_for_equal_distributions():
    """As Naeem et al. 2020 derive; their coverage is 1 - 2^-k at n = m for large n, within the
    noise of 400 points.
    """
    found = [prdc(normal(400, 8, i), normal(400, 8, i + 50)) for i in range(8)]
    assert np.mean([p.density for p in found]) == pytest.approx(1, abs=0.05)
    assert np.mean([p.coverage for p in found]) == pytest.approx(1 - 2**-5, abs=0.02)


def test_radii_leave_out_the_point_itself():
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert radii(line, 1).flatten().tolist() == [1, 1, 2, 4]
    assert radii(line, 2).flatten().tolist() == [3, 2, 3, 6]


def test_too_few_are_refused():
    with pytest.raises(ValueError, match="more than k = 5"):
        prdc(normal(5, 2, 0), normal(50, 2, 1))


def by_differences(real, generated, k=5):
    """As ``by_loops``, every distance in float64 from the difference of the two."""
    real, generated = real.double().numpy(), generated.double().numpy()

    def between(x, y):
        return np.array([np.sqrt(np.square(row - y).sum(1)) for row in x])

    real_ball, generated_ball = (np.sort(between(x, x))[:, k] for x in (real, generated))
    # Equal distances may differ in the order of their sums
    gap, slack = between(real, generated), 1e-12
    inside = gap <= real_ball[:, None] + slack
    recall = (gap <= generated_ball + slack).any(1).mean()
    return pytest.approx(
        (inside.any(0).mean(), recall, inside.sum(0).mean() / k, inside.any(1).mean()), abs=1e-12
    )


def test_is_exact_where_images_differ_by_little_beside_their_norm(narrow):
    """Images of few levels have many equal distances, which must not be decided by rounding."""
    real, generated = narrow(120, 0), narrow(90, 1)
    assert four(real, generated) == by_differences(real, generated)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_sample_that_is_not_finite_makes_nan(bad):
    real, generated = normal(60, 3, 0), normal(50, 3, 1)
    generated[7, 1] = bad
    assert all(map(math.isnan, four(real, generated)))


def test_a_constant_set_has_balls_of_no_size():
    constant = torch.full((20, 3), 0.7)
    assert four(constant, constant) == (1, 1, 4, 1)
    assert four(constant, constant + 1e-3) == (0, 0, 0, 0)
