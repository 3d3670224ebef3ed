"""Data sets of torchvision, from files in its own formats."""

import gzip
import re
import struct

import numpy as np
import pytest
import torch

from bench.data import DataError, describe, load
from bench.data._library import missing_library
from bench.data.torchvision import _arguments

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 28, 28), dtype=np.uint8)
LABELS = np.arange(60, dtype=np.uint8) % 10


@pytest.fixture
def _library():
    """The library, which does not import where it was built for another torch."""
    pytest.importorskip("torchvision", exc_type=(ImportError, RuntimeError))


def idx(array):
    """A file of MNIST: type, dimensions and bytes."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


@pytest.fixture
def mnist(tmp_path):
    folder = tmp_path / "MNIST/raw"
    folder.mkdir(parents=True)
    for split, count in (("train", 60), ("t10k", 20)):
        for name, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
            (folder / f"{split}-{name}-ubyte").write_bytes(idx(array[:count]))
            with gzip.open(folder / f"{split}-{name}-ubyte.gz", "wb") as file:
                file.write(idx(array[:count]))
    return tmp_path


@pytest.mark.usefixtures("_library")
def test_images_and_labels_are_those_of_the_files(mnist):
    dataset = load("torchvision:name=MNIST", mnist)
    assert torch.equal(dataset.train.images[:, 0], torch.tensor(IMAGES))
    assert torch.equal(dataset.test.images[:, 0], torch.tensor(IMAGES[:20]))
    assert dataset.train.labels.tolist() == LABELS.tolist()
    assert dataset.num_classes == 10
    assert "0 - zero" in describe(dataset)
    assert load("torchvision:name=MNIST,label=none", mnist).num_classes == 1
    assert load("torchvision:name=MNIST", mnist, resolution=7).image_shape == (1, 7, 7)


@pytest.mark.usefixtures("_library")
def test_a_folder_of_images_has_one_split(tmp_path):
    from PIL import Image

    for row, image in enumerate(IMAGES):
        folder = tmp_path / "ab"[row % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{row:02}.png")
    dataset = load("torchvision:name=ImageFolder", tmp_path)
    assert (len(dataset.train), len(dataset.test)) == (54, 6)
    assert "labels" not in describe(dataset)
    assert "a, b" in describe(dataset)


@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("", "torchvision:name=MNIST, for example"),
        (":name=MNITS", "did you mean MNIST"),
        (":name=MNIST,label=digit", "label=digit: auto or none"),
        (":name=MNIST", r"d.MNIST\('.*', train=True, download=True\); d.MNIST"),
        (":name=SVHN", r"d.SVHN\('.*', split='train', download=True\)|scipy"),
        (":name=ImageFolder", "torchvision cannot fetch this one"),
        (":root=x", "unknown option of torchvision 'root'"),
    ],
)
def test_bad_input_is_one_line_with_the_way_out(tmp_path, options, words):
    with pytest.raises(DataError, match=words) as caught:
        load(f"torchvision{options}", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("No module named 'torchvision'"), "pip install .*data"),
        (RuntimeError("operator torchvision::nms does not exist\nmore"), "for this torch, from"),
    ],
)
def test_a_library_that_cannot_be_imported_is_one_line(error, words):
    message = str(missing_library("torchvision", error))
    assert "\n" not in message
    assert re.search(words, message)


class MNIST:
    """The arguments of torchvision's, as those of the classes below."""

    def __init__(self, root, train=True, download=False): ...


class EMNIST(MNIST):
    def __init__(self, root, split, **kwargs): ...


class SVHN:
    def __init__(self, root, split="train", download=False): ...


class ImageFolder:
    def __init__(self, root): ...


@pytest.mark.parametrize(
    ("maker", "subset", "splits", "arguments"),
    [
        (MNIST, None, (None, None), [{"train": True}, {"train": False}]),
        (
            EMNIST,
            "letters",
            (None, None),
            [{"train": True, "split": "letters"}, {"train": False, "split": "letters"}],
        ),
        (SVHN, None, (None, None), [{"split": "train"}, {"split": "test"}]),
        (SVHN, None, ("extra", None), [{"split": "extra"}, {"split": "test"}]),
        (ImageFolder, None, (None, None), [{}]),
    ],
)
def test_splits_are_asked_for_in_the_words_of_each_class(maker, subset, splits, arguments):
    assert _arguments(maker, subset, splits) == arguments


@pytest.mark.parametrize(
    ("maker", "subset", "splits", "words"),
    [
        (EMNIST, None, (None, None), "EMNIST has several parts: name one, such as subset=letters"),
        (MNIST, "letters", (None, None), "MNIST has one part only: leave subset= out"),
        (MNIST, None, ("train", None), "MNIST has no splits to choose from: leave train="),
        (ImageFolder, None, (None, "test"), "ImageFolder has no splits to choose from"),
    ],
)
def test_options_without_effect_are_refused(maker, subset, splits, words):
    with pytest.raises(DataError, match=words):
        _arguments(maker, subset, splits)
