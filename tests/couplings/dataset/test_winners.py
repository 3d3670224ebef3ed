"""Lookups of the winning site: by a k-d tree or by all scores, the same as NumPy's in float64."""

import numpy as np
import pytest
import torch

from couplings.dataset._winners import FEW_DIMENSIONS, MANY_SITES, suits_a_tree, winners


def by_numpy(points, sites, potential, k):
    scores = points.double().numpy() @ sites.double().numpy().T + potential.double().numpy()
    index = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, index, 1), index


def draw(n, d, seed):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


POTENTIALS = {
    "none": lambda y: torch.zeros(len(y)),
    "voronoi": lambda y: -y.square().sum(1) / 2,
    "steep": lambda y: -3 * y.square().sum(1),
    "convex": lambda y: y.square().sum(1),
    "tilted": lambda y: 40 * y[:, 0] + 7,
    "rough": lambda y: torch.randn(len(y), generator=torch.Generator().manual_seed(9)),
    "huge": lambda y: 1e6 * y.norm(dim=1),
}


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize(("m", "d"), [(MANY_SITES, 1), (1500, 2), (1200, 3), (40, 2), (1100, 4)])
def test_scores_and_sites_are_numpys(potential, m, d):
    points = draw(300, d, 1)
    sites = draw(m, d, 2) / 2
    assert suits_a_tree(sites) == (m >= MANY_SITES and d <= 3)
    h = POTENTIALS[potential](sites).double()
    values, index = winners(points, sites, h, k=2)
    expected, where = by_numpy(points, sites, h, 2)
    assert values.dtype == torch.float64
    scale = float(h.abs().max() + 1)
    if d <= FEW_DIMENSIONS:
        np.testing.assert_allclose(values.numpy(), expected, rtol=0, atol=1e-12 * scale)
        assert np.array_equal(index.numpy(), where)
    else:
        # In float32 a near tie may go to either site.
        np.testing.assert_allclose(values.numpy(), expected, rtol=0, atol=1e-6 * scale)
        assert (index[:, 0].numpy() == where[:, 0]).mean() > 0.99


@pytest.mark.parametrize("m", [5, MANY_SITES])
def test_equal_sites_and_no_points(m):
    sites = torch.zeros(m, 2)
    potential = torch.zeros(m, dtype=torch.float64)
    potential[3] = 1.0
    values, index = winners(draw(20, 2, 1), sites, potential)
    assert (index == 3).all()
    assert (values == 1).all()
    values, index = winners(draw(0, 2, 1), sites, potential, k=2)
    assert values.shape == index.shape == (0, 2)


def test_small_differences_are_seen_at_a_distance():
    """The tree compares squared distances, whose last digits far sites take."""
    sites = torch.linspace(-1, 1, 2000, dtype=torch.float64)[:, None]
    potential = -sites[:, 0].square() / 2
    points = sites[:-1] + 0.4 * (sites[1] - sites[0])  # nearer to the left neighbour
    _, index = winners(points, sites, potential)
    assert torch.equal(index[:, 0], torch.arange(1999))


@pytest.mark.parametrize(("rows", "cached"), [(7, 70), (256, 1), (300, 1 << 20), (64, 64 * 99)])
def test_tiles_of_any_size_give_numpys_winners(rows, cached):
    points = draw(301, 16, 1).double()
    sites = draw(1003, 16, 2).double()
    h = -sites.norm(dim=1)
    values, index = winners(points, sites, h, rows=rows, cached=cached)
    expected, where = by_numpy(points, sites, h, 1)
    np.testing.assert_allclose(values.numpy(), expected, rtol=0, atol=1e-12)
    assert np.array_equal(index.numpy(), where)
