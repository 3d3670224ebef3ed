import dataclasses

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from bench.data import Dataset, Split
from bench.evaluation.measure import measure_samples
from bench.features import Features
from bench.metrics import _reference as reference
from bench.metrics._reference import extract, moments
from bench.metrics.contract import FeatureSpace
from bench.metrics.copies import Copies, nearest
from bench.metrics.frechet import FID_FEATURES, FID_IMAGES, FID_SIZE, Frechet
from bench.metrics.grid import Grid
from bench.metrics.kid import kid
from bench.metrics.prdc import prdc
from bench.randomness import generator
from tests.bench.metrics.samples import measure_all, measure_with_counts

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


def test_each_metric_is_that_of_its_features(dataset, images):
    def features(x):
        return HALVES.extract(x.float() / 127.5 - 1)

    found = measure_all(FeatureSpace(HALVES, dataset, requested=torch.arange(N) % 2), images)
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
    first = measure_all(FeatureSpace(HALVES, dataset), images)
    monkeypatch.setattr(reference, "CHUNK", 7)
    monkeypatch.setattr(reference, "HELD", 0)
    assert measure_all(FeatureSpace(HALVES, dataset), images, chunk=11) == pytest.approx(
        first, rel=1e-5
    )


def test_only_the_first_samples_are_compared_one_by_one(dataset, images):
    space = FeatureSpace(HALVES, dataset, most=30)
    before, counts = measure_with_counts(space, images)
    one_by_one = ("kid", "precision", "recall", "density", "coverage", "copy_")
    assert {n for metric, n in counts.items() if metric.startswith(one_by_one)} == {30}
    assert {n for metric, n in counts.items() if metric.startswith(("fd_", "class_"))} == {N}
    changed = images.clone()
    changed[30:] = 255
    after = measure_all(space, changed)
    same = {key for key in before if before[key] == after[key]}
    assert same == {key for key in before if key[0].startswith(one_by_one)}


def test_copies_of_training_images_are_found_among_all_of_them(dataset):
    for features in (PIXELS, HALVES):
        # More training images than `most` are there to be copied.
        space = FeatureSpace(features, dataset, most=20)
        found = measure_all(space, dataset.train.images[-20:])
        assert found[f"copy_rate_{features.name}", "train"] == 1
        assert found[f"copy_distance_{features.name}", "train"] < 0.01


def test_pixels_of_pictures_have_no_neighbours_but_points_in_the_plane_do(dataset, images):
    def families(dataset):
        found = measure_all(FeatureSpace(PIXELS, dataset), images)
        return {metric.removesuffix("_pixels") for metric, _ in found}

    neighbours = {"kid", "precision", "recall", "density", "coverage"}
    assert families(dataset) >= {"fd", "copy_rate", "copy_distance"}
    assert not families(dataset) & neighbours
    assert families(dataclasses.replace(dataset, bounded=False)) > {
        "kid",
        "precision",
        "fd_infinity",
    }


@pytest.mark.parametrize("n", [5, 6, 31, 90])
def test_few_samples_have_no_neighbours_and_fewer_no_extrapolation(n, dataset, images):
    found = {metric for metric, _ in measure_all(FeatureSpace(HALVES, dataset), images[:n])}
    assert ("kid_halves" in found) == (n > 5)
    assert ("fd_infinity_halves" in found) == (n // 4 > 8)
    assert "class_agreement_halves" not in found  # nothing was asked for


def test_moments_do_not_depend_on_the_chunk(dataset, monkeypatch):
    images = dataset.train.images
    expected = HALVES.extract(images.float() / 127.5 - 1).numpy()
    for parts in (images, iter(images.split(11))):
        found = moments(extract(parts, HALVES, "cpu"))
        assert found.count == 70
        np.testing.assert_allclose(found.covariance, np.cov(expected, rowvar=False), atol=1e-6)
        monkeypatch.setattr(reference, "CHUNK", 7)


class FewImages(Frechet):
    """FID of as few images and features as a test can bear."""

    fid_images = 60
    fid_size = HALVES.size


def like_inception(dataset, **changed) -> FeatureSpace:
    """Features that pass for Inception's pool3."""
    features = dataclasses.replace(HALVES, **{"name": "inception", "classify": None} | changed)
    return FeatureSpace(features, dataset)


def distances(space, images, chunk=17, metric=FewImages):
    """Values of Frechet distances to the test split, and their counts, by full name."""
    (measured,) = measure_samples(space, [metric], len(images), iter(images.split(chunk)))
    found = {}
    for (name, split), value in measured.compute().items():
        if split == "test" and name != "fd_infinity":
            full_name = metric.full_name(name, space.features.name)
            found[full_name, measured.count(name)] = value
    return found


def test_fid_is_that_of_pool3_and_50_000_images():
    assert (FID_FEATURES, FID_SIZE) == ("inception", 2048)
    assert Frechet.fid_images == FID_IMAGES == 50_000


@pytest.mark.parametrize(
    ("n", "expected"),
    [(59, {("fd_inception", 59)}), (60, {("fid", 60)}), (61, {("fid", 60), ("fd_inception", 61)})],
)
def test_a_distance_is_called_fid_from_exactly_enough_images(n, expected, dataset, images):
    space = like_inception(dataset)
    found = distances(space, images[:n])
    assert found.keys() == expected
    # FID rests on the first 60 images alone, whatever comes after them.
    for metric, count in expected:
        alone = FeatureSpace(HALVES, dataset)
        (same,) = distances(alone, images[:count], count, metric=Frechet).values()
        assert found[metric, count] == pytest.approx(same, rel=1e-9)


@pytest.mark.parametrize("name", ["other", "dinov2"])
def test_no_other_features_have_an_fid(name, dataset, images):
    found = distances(like_inception(dataset, name=name), images)
    assert found.keys() == {(f"fd_{name}", N)}


def test_features_named_inception_of_another_size_have_no_fid(dataset, images):
    class OtherSize(FewImages):
        fid_size = HALVES.size + 1

    found = distances(like_inception(dataset), images, metric=OtherSize)
    assert found.keys() == {("fd_inception", N)}


def test_the_first_pass_has_the_measured_distance_and_looks_at_the_training_split_only(
    dataset, images
):
    found = measure_all(FeatureSpace(HALVES, dataset), images)
    seen = []

    def extract(x):
        seen.append(len(x))
        return HALVES.extract(x)

    space = FeatureSpace(dataclasses.replace(HALVES, extract=extract), dataset)
    (grid,) = measure_samples(space, [Grid], N, iter(images.split(40)))
    assert grid.compute() == {
        ("grid_fd", "train"): pytest.approx(found["fd_halves", "train"], rel=1e-6)
    }
    assert sorted(seen) == sorted([10, 40, 40, 70])
    seen.clear()
    # Fewer images than features, and real ones are known by now
    measure_samples(space, [Grid], 5, [images[:5]])[0].compute()
    assert seen == [5]


@pytest.mark.parametrize("n", [N - 1, N + 1])
def test_there_are_as_many_images_as_announced(n, dataset, images):
    with pytest.raises(ValueError, match=f"{N} images where {n} were announced"):
        measure_samples(FeatureSpace(HALVES, dataset), [Grid], n, [images])


def test_what_is_cached_changes_no_number(dataset, images, tmp_path, monkeypatch):
    first = measure_all(FeatureSpace(HALVES, dataset), images)
    monkeypatch.setattr(reference, "HELD", 0)
    slow = dataclasses.replace(HALVES, slow=True)
    for _ in range(2):  # written, then read
        space = FeatureSpace(slow, dataset, cache=tmp_path)
        assert measure_all(space, images) == pytest.approx(first, rel=1e-6)

    def refuse(x):
        raise AssertionError("extracted again")

    known = FeatureSpace(dataclasses.replace(slow, extract=refuse), dataset, cache=tmp_path)
    copies = Copies(known, N)
    copies.update(HALVES.extract(images.float() / 127.5 - 1))
    expected = first["copy_rate_halves", "train"]
    assert copies.compute()["copy_rate", "train"] == pytest.approx(expected)


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
    found = measure_all(FeatureSpace(HALVES, dataset), images)
    assert found["fd_halves", "train"] == pytest.approx(expected, rel=1e-5)
