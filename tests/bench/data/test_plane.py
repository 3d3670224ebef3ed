"""Points in the plane at published scales: moments, scikit-learn's own numbers, labels."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import make_moons, make_s_curve

from bench.data import load

SIZES = {
    "sf2m-8gaussians": (10_000, 8),
    "sf2m-moons": (10_000, 2),
    "sf2m-scurve": (10_000, 1),
    "dsb-8gaussians": (10_000, 8),
    "dsb-moons": (10_000, 2),
    "c2ot-8gaussians": (500_000, 8),
    "c2ot-moons": (500_000, 2),
}
CIRCLES = {"sf2m-8gaussians": (5, 1), "dsb-8gaussians": (12, 1.5), "c2ot-8gaussians": (5, 0.5623)}


def points(split):
    return split.images.flatten(1).double().numpy()


def both(dataset):
    return np.concatenate([points(dataset.train), points(dataset.test)])


@pytest.mark.parametrize("name", SIZES)
def test_the_splits_have_the_published_sizes_and_are_points_without_bounds(name):
    dataset = load(name)
    count, classes = SIZES[name]
    assert (len(dataset.train), len(dataset.test)) == (count, 10_000)
    assert dataset.num_classes == classes
    assert not dataset.bounded
    assert dataset.image_shape == (2, 1, 1)
    assert len(np.unique(points(dataset.train), axis=0)) > count - 5
    assert load(name).checksum == dataset.checksum


@pytest.mark.parametrize("name", CIRCLES)
def test_the_gaussians_are_where_and_as_wide_as_published(name):
    radius, std = CIRCLES[name]
    split = load(name).test
    places = points(split)
    for mode in range(8):
        own = places[split.labels.numpy() == mode]
        angle = mode * math.pi / 4
        centre = radius * np.array([math.cos(angle), math.sin(angle)])
        error = std / math.sqrt(len(own))
        assert np.abs(own.mean(0) - centre).max() < 4.5 * error
        assert own.std(0) == pytest.approx(std, rel=4.5 / math.sqrt(2 * len(own)))
    counts = np.bincount(split.labels.numpy())
    assert counts == pytest.approx(1250, abs=4.5 * math.sqrt(1250 * 7 / 8))


def test_moons_and_s_curve_of_sf2m_are_those_of_scikit_learn():
    moons, labels = make_moons(20_000, noise=0.05, random_state=42)
    ours = load("sf2m-moons")
    assert np.allclose(both(ours), moons * 2 - 1, atol=1e-6)
    assert np.array_equal(np.concatenate([ours.train.labels, ours.test.labels]), labels)
    curve, _ = make_s_curve(20_000, noise=0.05, random_state=42)
    assert np.allclose(both(load("sf2m-scurve")), curve[:, [0, 2]] * 1.5, atol=1e-6)


def test_moons_of_dsb_have_deviation_7_over_all_coordinates():
    moons, _ = make_moons(20_000, noise=0.1, random_state=42)
    everything = both(load("dsb-moons"))
    assert everything.mean() == pytest.approx(0, abs=1e-5)
    assert everything.std() == pytest.approx(7, rel=1e-4)
    # One scale for both coordinates keeps the shape.
    assert np.corrcoef(everything.ravel(), moons.ravel())[0, 1] == pytest.approx(1, abs=1e-9)


def test_moons_of_c2ot_are_half_circles_shifted_along_the_diagonal():
    split = load("c2ot-moons").test
    plain = (points(split) + 1) / 3
    inner = split.labels.numpy() == 1
    assert inner.mean() == pytest.approx(0.5, abs=0.02)
    # Some shift u in [0, 0.2] brings each point back to the circle around its centre.
    centred = plain - np.where(inner[:, None], [1, 0.5], [0, 0])
    shifts = np.linspace(0, 0.2, 201)
    squares = (centred[:, None, :] - shifts[:, None]) ** 2
    assert np.abs(squares.sum(2) - 1).min(1).max() < 0.005
    # Means of both half circles, plus the mean shift.
    outer_mean = [0.1, 2 / math.pi + 0.1]
    assert plain[~inner].mean(0) == pytest.approx(outer_mean, abs=0.03)
    assert plain[inner].mean(0) == pytest.approx([1.1, 0.6 - 2 / math.pi], abs=0.03)


def test_source_and_data_of_a_published_pair_are_independent():
    for source, data in (("c2ot-8gaussians", "c2ot-moons"), ("dsb-moons", "dsb-8gaussians")):
        both_ends = np.concatenate([points(load(source).train), points(load(data).train)], axis=1)
        correlation = np.corrcoef(both_ends.T)[:2, 2:]
        assert np.abs(correlation).max() < 4.5 / math.sqrt(len(both_ends))


def test_loading_leaves_the_global_random_states_alone():
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002 - scikit-learn's fallback is this one
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for name in SIZES:
        load(name)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
