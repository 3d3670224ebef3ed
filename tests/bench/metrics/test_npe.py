"""Normalised path energy against optimal assignment by scipy, and 0 for the optimal map."""

import json
from types import SimpleNamespace

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from bench.config import EvaluationConfig, RunConfig
from bench.data import Dataset, Split, load
from bench.features import pixels
from bench.metrics import npe as module
from bench.metrics.contract import FeatureSpace
from bench.metrics.npe import NPE, least_energy
from bench.randomness import generator


def points(n=70, test=None) -> Dataset:
    g = torch.Generator().manual_seed(1)
    images = (0.5 * torch.randn(2 * n, 2, generator=g)).reshape(-1, 2, 1, 1)
    labels = torch.zeros(n, dtype=torch.int64)
    held_out = images[n:] if test is None else test
    return Dataset("toy", Split(images[:n], labels), Split(held_out, labels), 1, bounded=False)


def space(dataset, cache=None) -> FeatureSpace:
    return FeatureSpace(pixels.load(dataset, None, "cpu"), dataset, cache=cache)


def subject(dataset, samples) -> SimpleNamespace:
    """As much of a subject as the metric reads."""
    config = RunConfig("toy", evaluation=EvaluationConfig(samples=samples))
    return SimpleNamespace(config=config, dataset=dataset, spaces={"pixels": space(dataset)})


def noise(n) -> torch.Tensor:
    g = generator(0, "least energy")
    return torch.randn(n, 2, generator=g, dtype=torch.float64)


@pytest.mark.parametrize(("n", "size"), [(40, 40), (70, 70), (500, 70)])
def test_the_least_energy_is_the_best_assignment_of_noise_to_test_points(n, size):
    dataset = points()
    cost = cdist(noise(size), dataset.test.images.flatten(1)[:size].double(), "sqeuclidean")
    expected = cost[linear_sum_assignment(cost)].mean()
    assert least_energy(space(dataset), n) == pytest.approx(expected, rel=1e-9)


def test_with_a_source_it_is_the_best_assignment_of_its_test_points():
    """As many as there are in the smaller set."""
    source = points(50)
    dataset = points().from_source(source)
    start = source.test.images.flatten(1).double()
    cost = cdist(start, dataset.test.images.flatten(1)[:50].double(), "sqeuclidean")
    expected = cost[linear_sum_assignment(cost)].mean()
    assert least_energy(space(dataset), 500) == pytest.approx(expected, rel=1e-9)
    assert least_energy(space(dataset), 500) != least_energy(space(points()), 50)


def test_no_more_points_than_the_solver_takes(monkeypatch):
    monkeypatch.setattr(module, "MOST_POINTS", 25)
    dataset = points()
    assert least_energy(space(dataset), 70) == least_energy(space(dataset), 25)


def test_the_optimal_map_has_none_and_others_their_relative_excess():
    """Data that are MEAN + STD n of the very noise: the map is optimal, as a gradient of a convex
    function is, and its paths take |n - T(n)|^2.
    """
    n = noise(60)
    image = torch.tensor([0.7, -0.2]) + 0.4 * n
    dataset = points(60, test=image.reshape(-1, 2, 1, 1).double())
    energy = (n - image).square().sum(1)
    asked = subject(dataset, 60)
    profile = NPE.values({"path_energy": energy}, torch.ones(3), asked)
    assert profile == {("npe", None): pytest.approx(0, abs=1e-9)}
    # 25 % more energy, and 25 % less, which only paths to other data can take.
    for factor in (1.25, 0.75):
        found = NPE.values_at({"path_energy": factor * energy}, asked)
        assert found == {"sampler_npe": pytest.approx(0.25, rel=1e-9)}


def test_runs_of_the_same_data_share_one_computation(tmp_path, monkeypatch):
    dataset = points()
    first = least_energy(space(dataset, tmp_path), 50)
    assert first == least_energy(space(dataset), 50)
    solved = []
    monkeypatch.setattr(module, "w2", lambda x, y: solved.append(len(x)) or 2.0)
    assert least_energy(space(dataset, tmp_path), 50) == first
    assert not solved
    # Other sizes and other data are solved.
    assert least_energy(space(dataset, tmp_path), 40) == 4.0
    assert least_energy(space(points(80), tmp_path), 50) == 4.0
    assert solved == [40, 50]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"energy": "x"}', "{}"])
def test_a_damaged_file_is_made_again(tmp_path, text):
    dataset = points()
    first = least_energy(space(dataset, tmp_path), 50)
    (path,) = tmp_path.glob("*.json")
    path.write_text(text)
    assert least_energy(space(dataset, tmp_path), 50) == first
    assert json.loads(path.read_text())["energy"] == first


def test_it_is_for_points_in_the_plane():
    assert NPE.suits(points())
    assert not NPE.suits(load("digits"))


def test_a_source_that_is_the_data_itself_has_no_ratio():
    """Their distance is 0: the metric is left out, rather than fail a run after its training."""
    dataset = points()
    assert least_energy(space(dataset.from_source(points())), 50) == 0
    assert not NPE.suits(dataset.from_source(points()))
    assert NPE.suits(dataset.from_source(points(50)))
