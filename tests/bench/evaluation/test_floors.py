"""Floors: real images against real images, computed once for a data set."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from bench import metrics
from bench.arm import run_arm
from bench.check import check
from bench.config import Execution
from bench.data import Dataset, Split
from bench.evaluation import floors
from bench.features import Features
from bench.metrics.contract import FeatureSpace, SampleMetric
from bench.metrics.frechet import Frechet
from bench.metrics.kid import KID
from bench.randomness import generator
from bench.record.infos import Info, read_infos
from tests.bench.metrics.test_kid import by_loops

N = 40


def uint8(n, seed) -> torch.Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, 1, 4, 4), generator=stream).to(torch.uint8)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    splits = [Split(uint8(n, n), torch.arange(n) % 2) for n in (130, 60)]
    return Dataset("toy", *splits, num_classes=2)


@pytest.fixture
def space(dataset, tmp_path):
    """Features whose extractions are counted in ``space.calls``."""
    calls = itertools.count()

    def extract(images):
        next(calls)
        return images.flatten(1)[:, :6]

    features = Features("six", extract, size=6, fingerprint="six")
    made = FeatureSpace(features, dataset, cache=tmp_path / "cache")
    object.__setattr__(made, "calls", calls)
    return made


def as_features(images) -> np.ndarray:
    return (images.double() / 127.5 - 1).flatten(1)[:, :6].numpy()


def frechet(a, b) -> float:
    s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(s @ t).real
    return np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s + t - 2 * root)


def test_the_floor_is_the_mean_distance_of_draws_of_real_images(space, dataset):
    found = {floor.metric: floor for floor in floors.floors(space, "frechet", Frechet, N)}
    train, test = as_features(dataset.train.images), as_features(dataset.test.images)
    drawn = floors.draws(130, N)
    assert len(drawn) == 10
    values = [frechet(train[rows.numpy()], test) for rows in drawn]
    assert found["fd"].mean == pytest.approx(np.mean(values), rel=1e-5)
    assert (found["fd"].split, found["fd"].n) == ("test", N)
    # Disjoint draws of one pass share nothing, those of several passes on average 40 of 130.
    overlap = floors.shared(drawn)
    common = [np.isin(a, b).mean() for a, b in itertools.combinations(drawn, 2)]
    assert overlap == pytest.approx(np.mean(common))
    expected = np.std(values, ddof=1) / np.sqrt(1 - overlap)
    assert found["fd"].sd == pytest.approx(expected, rel=1e-4)
    assert found["fd_infinity"].mean < found["fd"].mean


def test_kid_is_that_of_the_same_draws(space, dataset):
    (found,) = floors.floors(space, "kid", KID, N, most=3)
    order = torch.randperm(60, generator=generator(0, "metrics test"))  # see ``FeatureSpace.some``
    train, test = as_features(dataset.train.images), as_features(dataset.test.images[order])
    values = []
    for rows in floors.draws(130, N, 3):
        # A subset is as large as the draw, so only that of the test images varies; see ``kid``.
        stream = generator(0, "kid subsets")
        parts = []
        for _ in range(20):
            torch.randperm(N, generator=stream)
            others = torch.randperm(60, generator=stream)[:N]
            parts.append(by_loops(train[rows.numpy()], test[others.numpy()]))
        values.append(np.mean(parts))
    assert found.mean == pytest.approx(np.mean(values), rel=1e-4)
    assert found.metric == "kid"


def test_draws_are_disjoint_while_images_last_and_random_in_order():
    rows = torch.cat(floors.draws(100, 10))
    assert sorted(rows.tolist()) == list(range(100))
    assert rows.tolist() != list(range(100))
    drawn = floors.draws(25, 10, 5)
    assert [len(set(rows.tolist())) for rows in drawn] == [10] * 5
    assert not set(drawn[0].tolist()) & set(drawn[1].tolist())


def test_all_images_are_one_draw_without_deviation_and_more_are_none(space):
    assert len(floors.draws(10, 10)) == 1
    assert floors.draws(9, 10) == []
    fd = floors.floors(space, "frechet", Frechet, 130)[0]
    assert fd.sd is None
    assert floors.floors(space, "frechet", Frechet, 131) == []


def test_the_deviation_of_overlapping_draws_is_that_of_new_ones():
    """Means of draws of 60 of 100 numbers: those of new numbers would vary by 1 / sqrt(60)."""
    stream = np.random.default_rng(0)
    variances = []
    for _ in range(400):
        numbers = stream.normal(size=100)
        drawn = [torch.from_numpy(stream.permutation(100)[:60]) for _ in range(10)]
        values = [numbers[rows.numpy()].mean() for rows in drawn]
        variances.append(floors.deviation(values, floors.shared(drawn)) ** 2)
    error = np.std(variances) / np.sqrt(len(variances))
    assert np.mean(variances) == pytest.approx(1 / 60, abs=4 * error)
    assert error < 0.1 / 60


def test_a_floor_is_computed_once_for_all_runs(space, dataset, tmp_path):
    first = floors.floors(space, "frechet", Frechet, N)
    seen = next(space.calls)
    again = FeatureSpace(space.features, dataset, cache=tmp_path / "cache")
    assert floors.floors(again, "frechet", Frechet, N) == first
    assert next(space.calls) == seen + 1  # the two that this test took itself
    # Another number of samples is another floor, and a damaged file is made again.
    assert floors.floors(again, "frechet", Frechet, N - 1) != first
    for path in (tmp_path / "cache").glob("floor-*.json"):
        path.write_text("{")
    assert floors.floors(again, "frechet", Frechet, N) == first


class Own(SampleMetric):
    """A user's own distance, the mean of all features."""

    infos = (Info("gap", "Mean feature.", floor=True), Info("whole", "The same.", floor=True))
    alone = ("whole",)

    def __init__(self, space, n):
        super().__init__(space, n)
        self.total = 0.0

    def update(self, features):
        self.total += features.double().sum().item()

    def compute(self):
        return {("gap", "train"): 9.0, ("gap", "test"): self.total, ("whole", None): self.total}


def test_a_metric_of_ones_own_gets_a_floor_by_declaring_it(space, dataset):
    found = floors.floors(space, "mine.own", Own, N, most=2)
    assert [(floor.metric, floor.split) for floor in found] == [("gap", "test"), ("whole", None)]
    train = as_features(dataset.train.images)
    totals = [train[rows.numpy()].sum() for rows in floors.draws(130, N, 2)]
    assert found[0].mean == pytest.approx(np.mean(totals), rel=1e-5)
    names = [info.name for info in Own.infos[0].floors()]
    assert [Own.full_name(name, "six") for name in names] == ["gap_floor_six", "gap_floor_sd_six"]
    names = [info.name for info in Own.infos[1].floors()]
    assert [Own.full_name(name, "six") for name in names] == ["whole_floor", "whole_floor_sd"]
    for name in ("gap_floor_six", "gap_floor_sd_six", "whole_floor", "whole_floor_sd"):
        _, info = Own.describe(name)
        assert (info.name, info.kind, info.per) == (name, "floor", "run")
    # A report finds the floor by the description of the metric.
    assert Own.describe("gap_six")[1].floor_name == "gap_floor_six"
    assert Own.describe("whole")[1].floor_sd_name == "whole_floor_sd"


def test_owners_of_floors():
    for metric in ("fd_floor_x", "fd_floor_sd_x", "fd_infinity_floor_x", "fid_floor"):
        name, info = metrics.owner(metric)
        assert (name, info.name, info.kind) == ("frechet", metric, "floor")
    assert metrics.owner("kid_floor_x")[0] == "kid"
    assert metrics.owner("w2_floor")[0] == "w2"


def test_runs_record_them_and_share_them(tiny, tmp_path):
    evaluation = dataclasses.replace(tiny.evaluation, metrics=("frechet",), nfe=(3,))
    runs = tmp_path / "runs"
    rows = []
    for seed in (0, 1):
        config = check(dataclasses.replace(tiny, evaluation=evaluation, seed=seed))
        folder = run_arm(config, runs, Execution(device="cpu"), progress=False)
        found = [row for row in folder.measurements() if "_floor_" in row.metric]
        assert {row.metric for row in found} == {
            f"fd_floor_{kind}{features}"
            for kind in ("", "sd_")
            for features in ("classifier", "pixels")
        }
        assert {(row.split, row.n, row.nfe) for row in found} == {("test", 100, None)}
        assert read_infos(folder.path)["fd_floor_classifier"].kind == "floor"
        rows.append(found)
    assert rows[0] == rows[1]
    files = list((runs / ".cache").glob("floor-frechet-*.json"))
    assert len(files) == 2
    assert {len(json.loads(path.read_text())["floors"]) for path in files} == {1}
