import math

import pytest
import torch

from bench.data import Dataset, Split
from bench.features import FeatureError, load, names


@pytest.fixture
def dataset() -> Dataset:
    split = Split(torch.linspace(-1, 1, 6 * 75).reshape(6, 3, 5, 5), torch.arange(6) % 2)
    return Dataset("toy", split, split, num_classes=2)


def test_every_extractor_is_listed():
    assert set(names()) >= {"classifier", "pixels"}


def test_unknown_extractor_lists_the_known(dataset, tmp_path):
    with pytest.raises(FeatureError, match="unknown features 'inception'. Known: classifier, pixels"):
        load("inception", dataset, tmp_path, "cpu")


def test_pixels_are_the_flat_images(dataset, tmp_path):
    pixels = load("pixels", dataset, tmp_path, "cpu")
    got = pixels.extract(dataset.train.images)
    assert pixels.name == "pixels"
    assert pixels.accuracy is None
    assert got.shape == (6, pixels.size) == (6, math.prod(dataset.image_shape))
    assert torch.equal(got, dataset.train.images.reshape(6, 75))
    assert not list(tmp_path.iterdir())
