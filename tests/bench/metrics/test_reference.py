import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import torch

from bench.data import Dataset, Split, as_images
from bench.features import Features
from bench.metrics import _reference as module
from bench.metrics._reference import Reference

N = 53


class Counted:
    """An extractor of 6 numbers that knows how many images it was shown."""

    def __init__(self, factor: float = 1.0):
        self.seen, self.factor = 0, factor

    def __call__(self, images):
        self.seen += len(images)
        return self.factor * images.flatten(1)[:, :6]


@pytest.fixture(autouse=True)
def _small_files(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 7)
    monkeypatch.setattr(module, "STORED", 20 * 6)  # files of 20 images
    monkeypatch.setattr(module, "HELD", 0)


@pytest.fixture
def dataset() -> Dataset:
    def split(n):
        images = torch.randint(256, (n, 1, 4, 4), generator=torch.Generator().manual_seed(n)).to(
            torch.uint8
        )
        return Split(images, torch.arange(n) % 2)

    return Dataset("toy", split(N), split(31), num_classes=2)


def reference(dataset, cache, net=None, split="train", **changed) -> Reference:
    net = net or Counted()
    features = Features(
        **{"name": "net", "size": 6, "fingerprint": "f", "slow": True, "extract": net} | changed
    )
    return Reference(features, dataset, split, "cpu", cache)


def expected(dataset, split="train"):
    return as_images(getattr(dataset, split).images).flatten(1)[:, :6]


def files(cache) -> dict[str, bytes]:
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in sorted(cache.rglob("*.safetensors"))
    }


@pytest.mark.parametrize("slow", [True, False])
@pytest.mark.parametrize("held", [0, 10**6])
@pytest.mark.parametrize("cached", [True, False])
def test_features_and_moments_are_those_of_all_images(
    slow, held, cached, dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "HELD", held)
    real, x = reference(dataset, tmp_path if cached else None, slow=slow), expected(dataset)
    assert torch.equal(torch.cat(list(real.parts())), x)
    assert real.moments.count == N
    np.testing.assert_allclose(real.moments.mean, x.double().mean(0))
    np.testing.assert_allclose(real.moments.covariance, np.cov(x.double().numpy(), rowvar=False))
    rows = torch.tensor([50, 0, 19, 20, 3])
    assert torch.equal(real.rows(rows), x[rows])
    assert bool(files(tmp_path)) == (slow and cached)


def test_a_second_run_extracts_nothing(dataset, tmp_path):
    net = Counted()
    first = reference(dataset, tmp_path, net)
    assert first.moments.count == N
    assert net.seen == N
    written = files(tmp_path)
    assert len(written) == 4  # three of features and one of moments
    again = Counted()
    second = reference(dataset, tmp_path, again)
    assert torch.equal(torch.cat(list(second.parts())), expected(dataset))
    assert torch.equal(second.moments.outer, first.moments.outer)
    assert again.seen == 0
    assert files(tmp_path) == written
    # No temporary file is left
    assert not [path for path in tmp_path.rglob(".*") if "lock" not in path.name]


def changed_labels(dataset):
    return dataclasses.replace(dataset, train=Split(dataset.train.images, 1 - dataset.train.labels))


def changed_pixel(dataset):
    images = dataset.train.images.clone()
    images[0, 0, 0, 0] ^= 1
    return dataclasses.replace(dataset, train=Split(images, dataset.train.labels))


def fewer(dataset):
    return dataclasses.replace(
        dataset, train=Split(dataset.train.images[:-1], dataset.train.labels[:-1])
    )


def other_shape(dataset):
    return dataclasses.replace(
        dataset, train=Split(dataset.train.images.reshape(N, 1, 2, 8), dataset.train.labels)
    )


@pytest.mark.parametrize("change", [changed_labels, changed_pixel, fewer, other_shape])
def test_other_data_never_meet_the_cache_of_these(change, dataset, tmp_path):
    reference(dataset, tmp_path).moments  # noqa: B018
    other, net = change(dataset), Counted()
    found = reference(other, tmp_path, net)
    assert torch.equal(torch.cat(list(found.parts())), expected(other))
    assert net.seen == len(other.train)


@pytest.mark.parametrize(
    "change",
    [{"split": "test"}, {"name": "other"}, {"fingerprint": "other weights"}],
    ids=lambda change: next(iter(change)),
)
def test_another_split_or_extractor_never_meets_this_cache(change, dataset, tmp_path):
    reference(dataset, tmp_path).moments  # noqa: B018
    net = Counted(2.0)
    found = reference(dataset, tmp_path, net, **change)
    assert torch.equal(
        torch.cat(list(found.parts())), 2 * expected(dataset, change.get("split", "train"))
    )
    assert net.seen == (31 if "split" in change else N)


@pytest.mark.parametrize(
    "part", ["version", "data", "split", "images", "shape", "features", "fingerprint"]
)
def test_each_part_of_the_key_counts_by_itself(part, dataset, tmp_path, monkeypatch):
    real = reference(dataset, tmp_path)
    real.moments  # noqa: B018
    assert set(real.key) == {
        "version",
        "data",
        "split",
        "images",
        "shape",
        "features",
        "fingerprint",
    }
    key = {**real.key, part: "another"}
    monkeypatch.setattr(Reference, "key", property(lambda self: key))
    net = Counted()
    assert reference(dataset, tmp_path, net).moments.count == N
    assert net.seen == N


def test_a_file_that_was_put_where_another_belongs_is_not_believed(dataset, tmp_path):
    real = reference(dataset, tmp_path)
    real.moments  # noqa: B018
    first, second = sorted(tmp_path.rglob("features-*.safetensors"))[:2]
    second.write_bytes(first.read_bytes())
    net = Counted()
    assert torch.equal(
        torch.cat(list(reference(dataset, tmp_path, net).parts())), expected(dataset)
    )
    assert net.seen == 20


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data[:5], lambda data: b"", lambda data: b"x" * 99],
)
def test_a_damaged_file_alone_is_made_again(damage, dataset, tmp_path):
    whole = reference(dataset, tmp_path).moments
    written = files(tmp_path)
    for path in tmp_path.rglob("*.safetensors"):
        sound = path.read_bytes()
        path.write_bytes(damage(sound))
        net = Counted()
        again = reference(dataset, tmp_path, net)
        assert torch.equal(torch.cat(list(again.parts())), expected(dataset))
        assert torch.equal(again.moments.outer, whole.outer)
        assert net.seen == {"features-40-53": 13, "moments": 0}.get(path.stem, 20)
        assert files(tmp_path) == written


def test_an_extraction_that_was_killed_goes_on_where_it_was(dataset, tmp_path):
    class Killed(Counted):
        def __call__(self, images):
            if self.seen > 40:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        reference(dataset, tmp_path, Killed()).moments  # noqa: B018
    net = Counted()
    assert reference(dataset, tmp_path, net).moments.count == N
    assert net.seen == 13  # the last file's


def test_the_checksum_of_the_data_is_the_one_results_are_keyed_by(dataset):
    assert reference(dataset, None).key["data"] == dataset.checksum


def test_of_runs_that_start_together_one_extracts_and_the_other_waits(
    dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "STORED", 6 * N)
    net, inside = Counted(), threading.Barrier(2)

    def extract(images):
        if net.seen == 0:
            with suppress(threading.BrokenBarrierError):
                inside.wait(0.3)  # both come in at once, where nothing keeps one of them out
        return net(images)

    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(lambda: torch.cat(list(reference(dataset, tmp_path, extract).parts())))
            for _ in range(2)
        ]
        found = [run.result() for run in runs]
    assert all(torch.equal(each, expected(dataset)) for each in found)
    assert net.seen == N
