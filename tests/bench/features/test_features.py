import math

import pytest
import torch

from bench import features as module
from bench.data import Dataset, Split
from bench.features import (
    FeatureError,
    Features,
    all_names,
    check,
    in_batches,
    load,
    load_all,
    names,
)


@pytest.fixture
def dataset() -> Dataset:
    split = Split(torch.linspace(-1, 1, 6 * 75).reshape(6, 3, 5, 5), torch.arange(6) % 2)
    return Dataset("toy", split, split, num_classes=2)


def test_those_taken_by_default_are_among_all():
    assert names() == ("classifier", "pixels")
    assert all_names() == ("classifier", "dinov2", "inception", "pixels", "torchscript")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "incepton",
            (
                "unknown features 'incepton': did you mean inception? known: classifier, dinov2,"
                " inception, pixels"
            ),
        ),
        ("-fidelity", "unknown features '-fidelity'"),
        (
            "inception:weigths=a.pth",
            "unknown option of inception 'weigths': did you mean weights? known: weights",
        ),
        ("pixels:size=3", "unknown option of pixels 'size': known: none"),
        (
            "torchscript:pth=a.pt",
            "unknown option of torchscript 'pth': did you mean path? known: path, name, size",
        ),
        (
            "torchscript:path=a.pt,size=big",
            "torchscript: size must be a whole number or none, got 'big'",
        ),
        ("inception:weights", "expected key=value after the colon, got 'weights'"),
        ("torchscript:size=3,size=4", "size is given twice"),
    ],
)
def test_a_spec_that_cannot_be_read_is_refused_in_one_line(spec, message, dataset, tmp_path):
    for read in (check, lambda spec: load(spec, dataset, tmp_path, "cpu")):
        with pytest.raises(FeatureError) as caught:
            read(spec)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_options_reach_the_extractor_by_their_types(dataset, tmp_path, monkeypatch):
    def fake(
        dataset,
        cache,
        device,
        *,
        path: str | None = None,
        name: str | None = None,
        size: int | None = None,
    ):
        return path, name, size

    monkeypatch.setattr("bench.features.torchscript.load", fake)
    assert load("torchscript:path=a=b:c.pt,size=32", dataset, tmp_path, "cpu") == (
        "a=b:c.pt",
        None,
        32,
    )


def test_two_extractors_of_one_name_are_refused(dataset, tmp_path):
    assert [f.name for f in load_all(["pixels"], dataset, tmp_path, "cpu")] == ["pixels"]
    with pytest.raises(
        FeatureError, match="the name 'pixels' is taken; leave one out, or give another name=NAME"
    ):
        load_all(["pixels", "pixels"], dataset, tmp_path, "cpu")


def test_a_bad_spec_is_refused_before_anything_is_loaded(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "load", lambda *_: pytest.fail("loaded"))
    with pytest.raises(FeatureError, match="'pixel'"):
        load_all(["classifier", "pixel"], dataset, tmp_path, "cpu")


def test_large_networks_take_few_images_at_a_time(monkeypatch):
    seen = []

    def extract(images):
        seen.append(len(images))
        return images.flatten(1)

    monkeypatch.setattr(module, "BATCH", 4)
    images = torch.arange(10.0).reshape(10, 1, 1, 1)
    assert torch.equal(in_batches(extract)(images), images.flatten(1))
    assert seen == [4, 4, 2]


def test_features_of_real_images_are_not_kept_unless_they_are_slow():
    assert not Features("x", torch.flatten, 1, "x").slow


def test_pixels_are_the_flat_images(dataset, tmp_path):
    pixels = load("pixels", dataset, tmp_path, "cpu")
    got = pixels.extract(dataset.train.images)
    assert pixels.name == "pixels"
    assert pixels.accuracy is None
    assert got.shape == (6, pixels.size) == (6, math.prod(dataset.image_shape))
    assert torch.equal(got, dataset.train.images.reshape(6, 75))
    assert not list(tmp_path.iterdir())
