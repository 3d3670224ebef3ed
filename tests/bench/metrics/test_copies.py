import math

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from bench.metrics.copies import copy_distance, copy_rate, nearest, nearest_rows


def normal(n, d, seed, scale=1.0) -> torch.Tensor:
    return scale * torch.randn(
        n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


@pytest.mark.parametrize("chunk", [1, 7, 90])
def test_nearest_is_that_of_a_tree(chunk):
    x, reference = normal(40, 3, 0), normal(90, 3, 1)
    expected, rows = cKDTree(reference.numpy()).query(x.numpy())
    np.testing.assert_allclose(nearest(x, reference.split(chunk)), expected, rtol=1e-9)
    assert nearest_rows(x, reference.split(chunk))[1].tolist() == rows.tolist()


def measured(generated, train, held_out):
    distances = [nearest(x, [train]) for x in (generated, held_out)]
    return copy_rate(*distances), copy_distance(*distances)


def test_new_images_of_the_same_distribution_are_as_near_as_held_out_ones():
    """The rate is the quantile and the ratio 1, within four standard errors of 4,000 draws."""
    rate, ratio = measured(normal(4000, 4, 0), normal(3000, 4, 1), normal(4000, 4, 2))
    assert rate == pytest.approx(0.05, abs=4 * (2 * 0.05 * 0.95 / 4000) ** 0.5)
    assert ratio == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_copies_are_counted(share):
    train, copied = normal(1000, 6, 1), int(1000 * share)
    generated = torch.cat(
        [train[:copied] + normal(copied, 6, 3, 1e-3), normal(1000 - copied, 6, 0) + 100]
    )
    rate, ratio = measured(generated, train, normal(1000, 6, 2))
    assert rate == share
    assert (ratio < 0.01) == (share == 1)


def test_half_the_distance_halves_the_ratio():
    held_out = torch.linspace(1, 3, 101)
    assert copy_distance(held_out / 2, held_out) == pytest.approx(0.5)
    assert copy_rate(torch.full((9,), 1.09), held_out) == 1  # the 5 % quantile is 1.1
    assert copy_rate(torch.full((9,), 1.11), held_out) == 0


def exact_distances(x, reference) -> np.ndarray:
    """From every x to its nearest reference, in float64, difference by difference."""
    x, reference = x.double().numpy(), reference.double().numpy()
    return np.array([np.sqrt(np.square(row - reference).sum(1).min()) for row in x])


@pytest.mark.parametrize("chunk", [64, 300])
def test_distances_are_exact_where_images_differ_by_little_beside_their_norm(narrow, chunk):
    x, reference = narrow(60, 0), narrow(300, 1)
    found = nearest(x, reference.split(chunk))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, exact_distances(x, reference), rtol=1e-9, atol=0)


def test_a_copy_is_at_no_distance_and_is_counted(narrow):
    train, held_out = narrow(300, 1), nearest(narrow(100, 2), [narrow(300, 1)])
    copies = nearest(train[:50], train.split(64))
    assert not copies.any()
    assert copy_rate(copies, held_out) == 1
    assert copy_distance(copies, held_out) == 0


def test_new_images_of_the_same_law_are_as_near_as_held_out_ones_there_too(narrow):
    train = narrow(300, 1)
    exact = [exact_distances(narrow(200, seed), train) for seed in (0, 2)]
    found = [nearest(narrow(200, seed), [train]) for seed in (0, 2)]
    assert copy_distance(*found) == pytest.approx(
        np.sort(exact[0])[99] / np.sort(exact[1])[99], rel=1e-9
    )
    assert copy_rate(*found) == pytest.approx(
        np.mean(exact[0] < np.quantile(exact[1], 0.05)), abs=0.01
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_sample_that_is_not_finite_makes_nan(bad):
    x, train = normal(20, 3, 0), normal(50, 3, 1)
    held_out = nearest(normal(20, 3, 2), [train])
    x[7, 1] = bad
    found = nearest(x, [train])
    assert found.isfinite().sum() == 19  # the others are measured as ever
    assert math.isnan(copy_rate(found, held_out))
    assert math.isnan(copy_distance(found, held_out))
