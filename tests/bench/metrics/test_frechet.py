import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from bench.metrics._moments import Moments
from bench.metrics.frechet import frechet_distance


def features(n, d, seed, scale=1.0, shift=0.0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=g, dtype=torch.float64) / d**0.5  # correlated features
    return scale * torch.randn(n, d, generator=g, dtype=torch.float64) @ mix + shift


def by_sqrtm(a: np.ndarray, b: np.ndarray) -> float:
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    gap = np.square(a.mean(0) - b.mean(0)).sum()
    return gap + np.trace(s + t - 2 * sqrtm(s @ t).real)


@given(d=st.integers(2, 20), seed=st.integers(0, 1000), scale=st.floats(0.2, 5))
def test_agrees_with_scipys_matrix_root(d, seed, scale):
    a, b = features(90, d, seed), features(70, d, seed + 1, scale, shift=0.5)
    expected = by_sqrtm(a.numpy(), b.numpy())
    assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(
        expected, rel=1e-6, abs=1e-6
    )


def test_mean_and_covariance_are_numpys():
    x = features(50, 7, seed=0, shift=3)
    found = Moments.of(x.float())
    assert found.count == 50
    assert found.total.dtype == found.outer.dtype == torch.float64
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(
        found.covariance, np.cov(x.numpy(), rowvar=False), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("chunk", [1, 7, 50])
def test_streamed_chunks_are_the_whole(chunk):
    x = features(50, 6, seed=0)
    first, *rest = x.split(chunk)
    streamed = sum(map(Moments.of, rest), start=Moments.of(first))
    whole = Moments.of(x)
    assert streamed.count == whole.count
    torch.testing.assert_close(streamed.mean, whole.mean)
    torch.testing.assert_close(streamed.covariance, whole.covariance)


def exact(mean, covariance, count=1000) -> Moments:
    """Moments whose mean and unbiased covariance are the given ones."""
    mean, covariance = torch.tensor(mean).double(), torch.tensor(covariance).double()
    return Moments(count, count * mean, (count - 1) * covariance + count * mean.outer(mean))


def test_closed_form_of_diagonal_gaussians():
    """|m_a - m_b|^2 + sum of (s_a - s_b)^2."""
    a = exact([1.0, 0.0, -2.0], np.diag([4.0, 1.0, 0.25]))
    b = exact([0.0, 0.5, -2.0], np.diag([1.0, 1.0, 9.0]))
    assert frechet_distance(a, b) == pytest.approx(1 + 0.25 + (1 + 0 + 6.25), rel=1e-9)


def test_is_symmetric_and_zero_for_equals():
    a, b = Moments.of(features(60, 5, 0)), Moments.of(features(80, 5, 1, scale=2))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert 0 <= frechet_distance(a, a) < 1e-9


def test_rotation_changes_nothing():
    a, b = features(60, 5, 0), features(60, 5, 1, scale=2)
    turn = torch.linalg.qr(features(5, 5, 2)).Q
    turned = frechet_distance(Moments.of(a @ turn), Moments.of(b @ turn))
    assert turned == pytest.approx(frechet_distance(Moments.of(a), Moments.of(b)), rel=1e-9)


@pytest.mark.parametrize("small", [8, 5])
def test_warns_where_the_covariance_has_no_full_rank(small):
    many, few = Moments.of(features(40, 8, 0)), Moments.of(features(small, 8, 1))
    for pair in ((many, few), (few, many)):
        with pytest.warns(UserWarning, match=f"{small} samples in 8 features"):
            assert frechet_distance(*pair) > 0
    # Just enough: no warning, which would be an error here
    frechet_distance(many, Moments.of(features(9, 8, 1)))


def test_many_distances_to_one_reference_take_its_root_once(monkeypatch):
    reference, others = (
        Moments.of(features(40, 5, 0)),
        [Moments.of(features(30, 5, seed)) for seed in (1, 2, 3)],
    )
    expected = [frechet_distance(other, Moments.of(features(40, 5, 0))) for other in others]
    calls, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda x: calls.append(x) or eigh(x))
    assert [frechet_distance(other, reference) for other in others] == expected
    assert len(calls) == 1
    torch.testing.assert_close(reference.root @ reference.root, reference.covariance)


def test_fewer_samples_than_features_leave_no_rounding_behind():
    """By the samples' side, singular values: Tr (S S_r)^(1/2) is the nuclear norm of the two
    centred sets' product.
    """
    few, many = features(20, 60, 0), features(300, 60, 1)
    a, b = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (few, many))
    expected = (few.mean(0) - many.mean(0)).square().sum() + a.square().sum() + b.square().sum()
    expected -= 2 * torch.linalg.matrix_norm(a @ b.T, "nuc")
    with pytest.warns(UserWarning, match="full rank"):
        found = frechet_distance(Moments.of(few), Moments.of(many))
    assert found == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_sample_that_is_not_finite_makes_nan(bad):
    """On either side; scipy and LAPACK would raise."""
    x, y = features(300, 5, 0), features(200, 5, 1)
    x[17, 3] = bad
    assert math.isnan(frechet_distance(Moments.of(x), Moments.of(y)))
    assert math.isnan(frechet_distance(Moments.of(y), Moments.of(x)))


def test_finite_samples_too_large_for_their_covariance_make_nan():
    assert math.isnan(
        frechet_distance(Moments.of(1e200 * features(50, 3, 0)), Moments.of(features(50, 3, 1)))
    )
    assert math.isnan(
        frechet_distance(
            Moments.of(1e120 * features(50, 3, 0)), Moments.of(1e120 * features(50, 3, 1))
        )
    )


def test_one_sample_has_no_covariance_and_no_distance():
    one, many = Moments.of(features(1, 4, 0)), Moments.of(features(50, 4, 1))
    assert math.isnan(frechet_distance(one, many))
    assert math.isnan(frechet_distance(many, one))


@pytest.mark.filterwarnings("ignore:Frechet distance of")
@pytest.mark.parametrize("n", [2, 3, 40])
def test_constant_samples_are_a_point_mass(n):
    """|m - m_r|^2 + Tr S_r: also against each other, where both covariances are 0."""
    constant, y = torch.full((n, 6), 0.7), features(80, 6, 1)
    expected = np.square(0.7 - y.numpy().mean(0)).sum() + np.cov(y.numpy(), rowvar=False).trace()
    assert frechet_distance(Moments.of(constant), Moments.of(y)) == pytest.approx(
        expected, rel=1e-6
    )
    assert frechet_distance(Moments.of(constant), Moments.of(constant + 1)) == pytest.approx(
        6, rel=1e-6
    )


def test_a_singular_covariance_is_that_of_its_subspace():
    """Coordinates that are constant, or copies of others, add nothing but their means."""
    x, y = features(90, 3, 0), features(70, 3, 1)
    constant = [torch.cat([z, torch.full((len(z), 4), 2.0).double()], 1) for z in (x, y)]
    alone = frechet_distance(Moments.of(x), Moments.of(y))
    assert frechet_distance(*map(Moments.of, constant)) == pytest.approx(alone, rel=1e-5)
    twice = [torch.cat([z, z], 1) for z in (x, y)]
    assert frechet_distance(*map(Moments.of, twice)) == pytest.approx(2 * alone, rel=1e-5)
