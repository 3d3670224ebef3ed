import dataclasses

import pytest
import torch

from bench.data import Dataset, Split, load
from bench.features import FeatureError, classifier, names


@pytest.fixture(autouse=True)
def _short_training(monkeypatch):
    monkeypatch.setattr(classifier, "TRAINING_IMAGES", 60 * classifier.BATCH)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """The features of digits and the folder they are cached in."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "TRAINING_IMAGES", 60 * classifier.BATCH)
        return classifier.load(digits, cache, "cpu"), cache


def no_training(*_):
    raise AssertionError("trained again")


def test_digits_reach_the_floor_and_accuracy_is_that_of_the_test_split(digits, trained):
    features, _ = trained
    assert features.name == "classifier"
    assert features.accuracy >= classifier.FLOOR
    extracted = features.extract(digits.test.images)
    assert extracted.shape == (len(digits.test), features.size)
    assert not extracted.requires_grad
    hits = features.classify(extracted) == digits.test.labels
    assert hits.double().mean().item() == pytest.approx(features.accuracy, abs=1.5 / len(hits))
    # The features tell the classes apart: the nearest class mean already gets most test digits
    # right.
    train = features.extract(digits.train.images)
    means = torch.stack([train[digits.train.labels == c].mean(0) for c in range(10)])
    guess = torch.cdist(extracted, means).argmin(1)
    assert (guess == digits.test.labels).double().mean() > 0.8


def test_second_load_reads_the_cache(digits, trained, monkeypatch):
    features, cache = trained
    monkeypatch.setattr(classifier, "_train", no_training)
    again = classifier.load(digits, cache, "cpu")
    assert (again.fingerprint, again.accuracy) == (features.fingerprint, features.accuracy)
    assert torch.equal(again.extract(digits.test.images), features.extract(digits.test.images))


def test_other_data_of_the_same_name_is_not_served_from_the_cache(digits, trained, monkeypatch):
    features, cache = trained
    monkeypatch.setattr(classifier, "_train", no_training)
    fewer = dataclasses.replace(
        digits, test=Split(digits.test.images[:-1], digits.test.labels[:-1])
    )
    assert [digits.checksum[:16] in path.name for path in cache.glob("*.pt")] == [True]
    assert features.fingerprint.startswith("classifier-")
    with pytest.raises(AssertionError, match="trained again"):
        classifier.load(fewer, cache, "cpu")


def test_training_is_the_same_every_time_and_leaves_the_global_stream_alone(digits, monkeypatch):
    monkeypatch.setattr(classifier, "TRAINING_IMAGES", 3 * classifier.BATCH)
    before = torch.random.get_rng_state()
    first = classifier._train(digits, "cpu").state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(1)
    second = classifier._train(digits, "cpu").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_shuffled_labels_are_refused_now_and_from_the_cache(digits, tmp_path, monkeypatch):
    g = torch.Generator().manual_seed(0)
    labels = digits.train.labels[torch.randperm(len(digits.train), generator=g)]
    shuffled = dataclasses.replace(digits, train=Split(digits.train.images, labels))
    monkeypatch.setattr(classifier, "TRAINING_IMAGES", 20 * classifier.BATCH)
    with pytest.raises(
        FeatureError, match=r"classifier of digits reaches .*%.* under 80%"
    ) as raised:
        classifier.load(shuffled, tmp_path, "cpu")
    for way_out in ("check the labels", "add images", "--features pixels"):
        assert way_out in str(raised.value)
    monkeypatch.setattr(classifier, "_train", no_training)
    with pytest.raises(FeatureError, match="under 80%"):
        classifier.load(shuffled, tmp_path, "cpu")


@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_every_image_shape_gives_the_same_number_of_features(shape):
    net = classifier.Classifier(shape, num_classes=7)
    images = torch.zeros(2, *shape)
    assert net.body(images).shape == (2, classifier.WIDTH)
    assert net(images).shape == (2, 7)


def test_own_images_need_to_be_told_apart_only_better_than_by_chance(digits, trained, monkeypatch):
    _, cache = trained
    own = dataclasses.replace(digits, name="image-folder")
    monkeypatch.setattr(classifier, "FLOOR", 0.999)
    assert classifier.load(own, cache, "cpu").accuracy > 0.2
    with pytest.raises(FeatureError, match="labels"):
        classifier.load(digits, cache, "cpu")


def test_one_class_gives_a_classifier_nothing_to_learn(digits):
    one = dataclasses.replace(digits, num_classes=1)
    assert names(one) == ("pixels",)
    assert names(digits) == names() == ("classifier", "pixels")
