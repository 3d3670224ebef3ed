"""Data sets of the Hugging Face library, from folders that it writes."""

import numpy as np
import pytest
import torch

from bench.arm import run_arm
from bench.check import make
from bench.data import DataError, describe, load

datasets = pytest.importorskip("datasets")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (60, 4, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
LABELS = [row % 3 for row in range(60)]


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def table(images=COLOUR, names=("cat", "dog", "owl"), **columns):
    """A table of images, by default with labels that have names."""
    from PIL import Image

    features = {"image": datasets.Image()}
    content = {"image": [Image.fromarray(image) for image in images]}
    columns = columns or {"label": LABELS[: len(images)]}
    for name, values in columns.items():
        kind = datasets.Value("string" if isinstance(values[0], str) else "int64")
        if names and not isinstance(values[0], str | list):
            kind = datasets.ClassLabel(names=list(names))
        if isinstance(values[0], list):
            kind = datasets.Sequence(datasets.Value("int64"))
        features[name] = kind
        content[name] = values
    return datasets.Dataset.from_dict(content, features=datasets.Features(features))


def saved(path, **splits):
    """The splits as ``save_to_disk`` writes them; a single one called ``only`` without a name."""
    content = splits["only"] if "only" in splits else datasets.DatasetDict(splits)
    content.save_to_disk(str(path))
    return path


def test_both_splits_are_the_images_that_were_saved(tmp_path):
    path = saved(tmp_path / "d", train=table(), test=table(COLOUR[:9]))
    dataset = load("hf", path)
    expected = torch.tensor(COLOUR).permute(0, 3, 1, 2)
    assert torch.equal(dataset.train.images, expected)
    assert torch.equal(dataset.test.images, expected[:9])
    assert dataset.train.labels.tolist() == LABELS
    assert dataset.num_classes == 3
    assert dataset.bounded
    line = describe(dataset)
    assert "labels: column label): cat, dog, owl" in line
    assert "splits train and test" in line
    assert "9 held-out images are also training images" in line


def test_grey_images_have_one_channel_and_a_tenth_is_held_out(tmp_path):
    dataset = load("hf", saved(tmp_path / "d", only=table(GREY)))
    # Of each class the 10th and the 20th.
    held_out = [27, 28, 29, 57, 58, 59]
    assert torch.equal(dataset.test.images[:, 0], torch.tensor(GREY[held_out]))
    assert dataset.test.images.shape == (6, 1, 4, 4)
    assert "every 10th image of a class is held out" in describe(dataset)


@pytest.mark.parametrize("column", ["labels", "fine_label", "class"])
def test_usual_columns_of_labels_are_found(tmp_path, column):
    path = saved(tmp_path / "d", only=table(**{column: LABELS, "other": LABELS}))
    assert load("hf", path).num_classes == 3
    assert load("hf:label=none", path).num_classes == 1
    assert load("hf:label=other", path).origin.labels == "column other"


def test_words_are_classes_and_splits_can_be_named(tmp_path):
    words = ["b" if row % 2 else "a" for row in range(60)]
    part = table(names=None, label=words)
    path = saved(tmp_path / "d", train=part, extra=part, validation=part)
    dataset = load("hf:train=extra,test=train", path)
    assert dataset.train.labels.tolist() == [row % 2 for row in range(60)]
    assert "splits extra and train" in describe(dataset)
    assert "splits train and validation" in describe(load("hf", path))


def test_a_folder_of_parquet_is_read(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    table().to_parquet(str(folder / "train.parquet"))
    table(COLOUR[:9]).to_parquet(str(folder / "test.parquet"))
    dataset = load("hf", folder)
    assert (len(dataset.train), len(dataset.test)) == (60, 9)


def test_images_of_unequal_size_take_a_resolution(tmp_path):
    from PIL import Image

    images = [
        Image.fromarray(RNG.integers(0, 256, (4 + row % 3, 5, 3), np.uint8)) for row in LABELS
    ]
    features = datasets.Features({"image": datasets.Image()})
    content = datasets.Dataset.from_dict({"image": images}, features=features)
    path = saved(tmp_path / "d", only=content)
    with pytest.raises(DataError, match="--resolution N"):
        load("hf", path)
    assert load("hf", path, resolution=4).image_shape == (3, 4, 4)


def numbers():
    return datasets.Dataset.from_dict({"x": [1.0] * 60, "label": LABELS})


# The splits, the options, and words of the line.
BAD = {
    "no images": (lambda: {"only": numbers()}, "", "one column of images is needed"),
    "another split": (lambda: {"train": table()}, ":train=big", "no split 'big'; there are train"),
    "another test": (lambda: {"train": table()}, ":test=big", "no split 'big'; there are train"),
    "no training split": (lambda: {"big": table()}, "", "no split 'train'; there are big"),
    "another column": (lambda: {"only": table()}, ":image=photo", "there are image"),
    "another label": (lambda: {"only": table()}, ":label=kind", "there are image, label"),
    "lists": (lambda: {"only": table(label=[[1, 2]] * 60)}, "", "pass label=COLUMN"),
    "too few": (lambda: {"only": table(COLOUR[:9])}, "", "no class has 10 images"),
    "an unseen class": (
        lambda: {"train": table(), "test": table(names=None, label=[7] * 60)},
        "",
        "is of class 7, which has no training image",
    ),
    "another option": (lambda: {"only": table()}, ":folder=x", "unknown option of hf 'folder'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_line_with_the_way_out(tmp_path, kind):
    splits, options, words = BAD[kind]
    path = saved(tmp_path / "d", **splits())
    with pytest.raises(DataError) as caught:
        load(f"hf{options}", path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_is_fetched_and_the_library_may_go_online_again(tmp_path, monkeypatch):
    """Also where the library was imported before, as here."""
    from huggingface_hub import constants

    seen = []

    def load_dataset(*args, **kwargs):
        seen.append((datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE))
        raise ConnectionError("no copy")

    for place in (datasets.config, constants):
        monkeypatch.setattr(place, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match="no copy"):
        load("hf:name=no/such", tmp_path)
    assert seen == [(True, True)]
    assert not datasets.config.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


def test_a_missing_copy_says_what_fetches_it(tmp_path):
    with pytest.raises(DataError, match="datasets.load_dataset.'no/such', 'one'.") as caught:
        load("hf:name=no/such,subset=one", tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="there is no folder"):
        load("hf", tmp_path / "none")
    with pytest.raises(DataError, match="which one. pass --data-dir FOLDER"):
        load("hf")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is it a folder of save_to_disk"):
        load("hf", tmp_path / "empty")


def test_a_run_is_made_of_it(tmp_path, tiny_overrides):
    path = saved(tmp_path / "d", only=table(GREY))
    own = {"data": "hf:label=label", "features": ["pixels"], "metrics": ["samples"]}
    folder = run_arm(make(None, {**tiny_overrides, **own}), tmp_path / "runs", data_dir=path)
    assert folder.is_done()
    # A colon is no part of a file's name everywhere.
    assert folder.run_id.startswith("hf_label=label-lapjv-")
