import dataclasses

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from bench.data import Dataset, Split
from bench.features import Features
from bench.metrics import _reference as reference
from bench.metrics import of_samples as module
from bench.metrics._reference import extract, moments
from bench.metrics.copies import nearest
from bench.metrics.kid import kid
from bench.metrics.of_samples import Ruler
from bench.metrics.prdc import prdc
from bench.randomness import generator

PIXELS = Features("pixels", lambda images: images.flatten(1), size=16, fingerprint="pixels")
HALVES = Features(
    "halves",
    lambda images: images.flatten(1).unflatten(1, (8, 2)).mean(2),
    size=8,
    fingerprint="h",
    classify=lambda features: (features[:, 0] > 0).long(),
)
N = 90


def uint8(n, seed, levels=256) -> torch.Tensor:
    return torch.randint(levels, (n, 1, 4, 4), generator=torch.Generator().manual_seed(seed)).to(
        torch.uint8
    )


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset(
        "toy", *(Split(uint8(n, n), torch.arange(n) % 2) for n in (70, 50)), num_classes=2
    )


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return uint8(N, 1, levels=200)


def measured(ruler, images, chunk=40, asked=None):
    return ruler.measure(iter(images.split(chunk)), len(images), asked)


@pytest.mark.parametrize("features", [PIXELS, HALVES])
@pytest.mark.parametrize("n", [5, 6, 31, 90])
@pytest.mark.parametrize("conditional", [True, False])
def test_what_is_named_is_what_is_measured(features, n, conditional, dataset, images):
    ruler = Ruler(features, dataset, "cpu")
    names = ruler.names(n, conditional)
    found = measured(ruler, images[:n], asked=torch.zeros(n).long() if conditional else None)
    assert found.keys() == {(metric, split) for metric, split, _ in names}
    assert len(found) == len(names)


def test_each_metric_is_that_of_its_features(dataset, images):
    def features(x):
        return HALVES.extract(x.float() / 127.5 - 1)

    found = measured(Ruler(HALVES, dataset, "cpu"), images, asked=torch.arange(N) % 2)
    x, train, test = map(features, (images, dataset.train.images, dataset.test.images))
    for split, real in (("train", train), ("test", test)):
        a, b = x.double().numpy(), real.double().numpy()
        s, t = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
        frechet = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real)
        assert found["fd_halves", split] == pytest.approx(frechet, rel=1e-4)
        assert found["fd_infinity_halves", split] < frechet
        four = prdc(real, x)
        for metric in ("precision", "recall", "density", "coverage"):
            assert found[f"{metric}_halves", split] == pytest.approx(getattr(four, metric))
        # All samples of the smaller side are in every subset, so that only the choice of the larger
        # one varies.
        assert found["kid_halves", split] == pytest.approx(
            kid(x, real, generator(5, "other"), subsets=200), abs=0.02
        )
        shares = [np.mean(z[:, 0].numpy() > 0) for z in (x, real)]
        assert found["class_distance_halves", split] == pytest.approx(abs(shares[0] - shares[1]))
    agreement = np.mean((x[:, 0].numpy() > 0) == np.arange(N) % 2)
    assert found["class_agreement_halves", None] == pytest.approx(agreement)
    own, held_out = nearest(x, [train]), nearest(test, [train])
    assert found["copy_distance_halves", "train"] == pytest.approx(
        (own.median() / held_out.median()).item(), rel=1e-4
    )


def test_chunks_and_what_is_held_change_no_number(dataset, images, monkeypatch):
    first = measured(Ruler(HALVES, dataset, "cpu"), images)
    monkeypatch.setattr(reference, "CHUNK", 7)
    monkeypatch.setattr(reference, "HELD", 0)
    assert measured(Ruler(HALVES, dataset, "cpu"), images, chunk=11) == pytest.approx(
        first, rel=1e-5
    )


def test_only_the_first_samples_are_compared_one_by_one(dataset, images, monkeypatch):
    monkeypatch.setattr(module, "SOME", 30)
    ruler = Ruler(HALVES, dataset, "cpu")
    assert {
        n for metric, _, n in ruler.names(N, False) if not metric.startswith(("fd_", "class_"))
    } == {30}
    assert {
        n for metric, _, n in ruler.names(N, False) if metric.startswith(("fd_", "class_"))
    } == {N}
    changed = images.clone()
    changed[30:] = 255
    before, after = (measured(ruler, x) for x in (images, changed))
    same = {key for key in before if before[key] == after[key]}
    assert same == {key for key in before if not key[0].startswith(("fd_", "class_"))}


def test_copies_of_training_images_are_found_among_all_of_them(dataset, monkeypatch):
    monkeypatch.setattr(module, "SOME", 20)  # more training images than that are there to be copied
    for features in (PIXELS, HALVES):
        found = measured(Ruler(features, dataset, "cpu"), dataset.train.images[-20:])
        assert found[f"copy_rate_{features.name}", "train"] == 1
        assert found[f"copy_distance_{features.name}", "train"] < 0.01


def test_pixels_of_pictures_have_no_neighbours_but_points_in_the_plane_do(dataset):
    def families(dataset):
        return {
            metric.removesuffix("_pixels")
            for metric, _, _ in Ruler(PIXELS, dataset, "cpu").names(N, False)
        }

    assert families(dataset) == {"fd", "copy_rate", "copy_distance"}
    assert families(dataclasses.replace(dataset, bounded=False)) > {
        "kid",
        "precision",
        "fd_infinity",
    }


def test_moments_do_not_depend_on_the_chunk(dataset, monkeypatch):
    images = dataset.train.images
    expected = HALVES.extract(images.float() / 127.5 - 1).numpy()
    for parts in (images, iter(images.split(11))):
        found = moments(extract(parts, HALVES, "cpu"))
        assert found.count == 70
        np.testing.assert_allclose(found.covariance, np.cov(expected, rowvar=False), atol=1e-6)
        monkeypatch.setattr(reference, "CHUNK", 7)


def like_inception(monkeypatch, **changed) -> Features:
    """An extractor that passes for Inception's pool3, of as few features as a test can bear."""
    monkeypatch.setattr(module, "FID", ("inception", HALVES.size))
    monkeypatch.setattr(module, "FID_IMAGES", 60)
    return dataclasses.replace(HALVES, **{"name": "inception", "classify": None} | changed)


def frechet_of(metrics) -> set[tuple[str, int]]:
    return {
        (metric, n)
        for metric, _, n in metrics
        if metric.startswith("f") and "infinity" not in metric
    }


def test_fid_is_that_of_pool3_and_50_000_images():
    assert module.FID == ("inception", 2048)
    assert module.FID_IMAGES == 50_000


@pytest.mark.parametrize(
    ("n", "expected"),
    [(59, {("fd_inception", 59)}), (60, {("fid", 60)}), (61, {("fid", 60), ("fd_inception", 61)})],
)
def test_a_distance_is_called_fid_from_exactly_enough_images(
    n, expected, dataset, images, monkeypatch
):
    ruler = Ruler(like_inception(monkeypatch), dataset, "cpu")
    assert frechet_of(ruler.names(n, False)) == expected
    found = measured(ruler, images[:n], chunk=17)
    assert found.keys() == {(metric, split) for metric, split, _ in ruler.names(n, False)}
    # FID rests on the first 60 images alone, whatever comes after them.
    for metric, count in expected:
        same = ruler.frechet([images[:count]], count, "test")
        assert found[metric, "test"] == pytest.approx(same, rel=1e-9)


@pytest.mark.parametrize("changed", [{"name": "other"}, {"name": "dinov2"}])
def test_no_other_features_have_an_fid(changed, dataset, monkeypatch):
    features = like_inception(monkeypatch, **changed)
    assert frechet_of(Ruler(features, dataset, "cpu").names(90, False)) == {
        (f"fd_{features.name}", 90)
    }


def test_features_named_inception_of_another_size_have_no_fid(dataset, monkeypatch):
    features = like_inception(monkeypatch)
    monkeypatch.setattr(module, "FID", ("inception", HALVES.size + 1))
    assert frechet_of(Ruler(features, dataset, "cpu").names(90, False)) == {("fd_inception", 90)}


def test_the_frechet_distance_alone_is_the_measured_one_and_looks_at_one_split_only(
    dataset, images
):
    found = measured(Ruler(HALVES, dataset, "cpu"), images)
    seen = []

    def extract(x):
        seen.append(len(x))
        return HALVES.extract(x)

    ruler = Ruler(dataclasses.replace(HALVES, extract=extract), dataset, "cpu")
    for split, real in (("train", 70), ("test", 50)):
        seen.clear()
        assert ruler.frechet(iter(images.split(40)), N, split) == pytest.approx(
            found["fd_halves", split], rel=1e-6
        )
        assert sorted(seen) == sorted([10, 40, 40, real])
    seen.clear()
    # Fewer images than features, and real ones are known by now
    ruler.frechet(iter(images[:5].split(40)), 5, "train")
    assert seen == [5]


@pytest.mark.parametrize("n", [N - 1, N + 1])
def test_the_frechet_distance_is_of_as_many_images_as_announced(n, dataset, images):
    with pytest.raises(ValueError, match=f"{N} images where {n} were announced"):
        Ruler(HALVES, dataset, "cpu").frechet([images], n, "train")


def test_what_is_cached_changes_no_number(dataset, images, tmp_path, monkeypatch):
    first = measured(Ruler(HALVES, dataset, "cpu"), images)
    monkeypatch.setattr(reference, "HELD", 0)
    slow = dataclasses.replace(HALVES, slow=True)
    for _ in range(2):  # written, then read
        assert measured(Ruler(slow, dataset, "cpu", tmp_path), images) == pytest.approx(
            first, rel=1e-6
        )

    def refuse(x):
        raise AssertionError("extracted again")

    known = Ruler(dataclasses.replace(slow, extract=refuse), dataset, "cpu", tmp_path)
    assert known._held_out.shape == (50,)


def test_the_frechet_distance_is_torch_fidelitys(dataset, images):
    """Another formula for the root, behind the same moments."""
    fid = pytest.importorskip("torch_fidelity.metric_fid", reason="needs the extra [fid]")
    x, real = (
        HALVES.extract(uint8s.float() / 127.5 - 1) for uint8s in (images, dataset.train.images)
    )
    statistics = map(fid.fid_features_to_statistics, (x, real))
    expected = fid.fid_statistics_to_metric(*statistics, verbose=False)[
        "frechet_inception_distance"
    ]
    assert Ruler(HALVES, dataset, "cpu").frechet([images], N, "train") == pytest.approx(
        expected, rel=1e-5
    )
