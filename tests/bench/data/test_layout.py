from pathlib import Path

import pytest

from bench.data import DataError
from bench.data._layout import arrange
from bench.data._remarks import UNUSED, Remarks


def read(*folders, each=2, labelled=None):
    """The layout of two images in each folder, and what was skipped."""
    names = [f"{folder}/{n}.png".removeprefix("/") for folder in folders for n in range(each)]
    remarks = Remarks()
    return arrange(sorted(names), Path("root"), labelled, remarks), remarks


def classes(part):
    """Class by folder."""
    return {name.rpartition("/")[0]: label for name, label in part.items()}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "Test"),
        ("TRAIN", "TEST"),
        ("Training", "Testing"),
        ("training", "test"),
        ("train", "val"),
        ("train", "Valid"),
        ("Train", "validation"),
        ("train", "eval"),
        ("training", "Evaluation"),
    ],
)
@pytest.mark.parametrize("wrapper", ["", "archive/", "a/b/"])
def test_splits_have_their_usual_names_in_any_case_at_the_top_or_in_a_wrapper(train, test, wrapper):
    layout, remarks = read(
        *(f"{wrapper}{split}/{name}" for split in (train, test) for name in ("cat", "dog"))
    )
    assert classes(layout.train) == {f"{wrapper}{train}/cat": "cat", f"{wrapper}{train}/dog": "dog"}
    assert classes(layout.test) == {f"{wrapper}{test}/cat": "cat", f"{wrapper}{test}/dog": "dog"}
    said = f"training images from {wrapper}{train}/, held-out images from {wrapper}{test}/"
    assert layout.notes == (said,)
    assert not remarks.counts


def test_of_three_splits_test_is_held_out_and_the_rest_is_counted():
    layout, remarks = read("train/cat", "test/cat", "val/cat", "extra", "")
    assert set(layout.test.values()) == {"cat"}
    assert all(name.startswith("test/") for name in layout.test)
    assert remarks.counts == {UNUSED: 6}


@pytest.mark.parametrize(
    "folders", [("train", "Train", "test"), ("train", "val", "valid"), ("train", "test", "Testing")]
)
def test_two_folders_for_one_split_are_refused(folders):
    with pytest.raises(DataError, match="name the same split: rename all but one"):
        read(*(f"{folder}/cat" for folder in folders))


@pytest.mark.parametrize(
    "folders", [("trainA", "trainB", "testA", "testB"), ("train_cats", "cats", "Val_cats")]
)
def test_folders_that_begin_like_splits_are_refused_as_test_images_would_be_trained_on(folders):
    with pytest.raises(
        DataError, match="may be splits or classes: put the classes into train/ and test/"
    ):
        read(*folders)


def test_a_class_may_be_called_train():
    assert set(read("train", "car", "plane")[0].train.values()) == {"train", "car", "plane"}


@pytest.mark.parametrize(
    "folders", [("train",), ("Test",), ("test", "val"), ("train", "Training"), ("a/train",)]
)
def test_one_split_of_two_is_refused(folders):
    with pytest.raises(
        DataError,
        match="holds one split of two .*name them train/ and test/, or pass only what is in",
    ):
        read(*(f"{folder}/cat" for folder in folders))


@pytest.mark.parametrize("wrapper", ["dataset", "archive/dataset", "x.y/z w/ü"])
def test_a_folder_that_holds_the_classes_is_no_class(wrapper):
    layout, _ = read(f"{wrapper}/c0", f"{wrapper}/c1")
    assert classes(layout.train) == {f"{wrapper}/c0": "c0", f"{wrapper}/c1": "c1"}
    assert layout.test is None
    assert layout.notes == (f"read inside {wrapper}/",)


def test_the_only_folder_of_images_is_the_one_class():
    layout, _ = read("photos")
    assert (classes(layout.train), layout.notes) == ({"photos": "photos"}, ())
    layout, _ = read("a/b/photos")
    assert (classes(layout.train), layout.notes) == (
        {"a/b/photos": "photos"},
        ("read inside a/b/",),
    )


def test_images_without_folders_have_no_class():
    layout, _ = read("")
    assert (set(layout.train.values()), layout.test, layout.notes) == ({""}, None, ())


@pytest.mark.parametrize("wrapper", ["", "dataset/"])
def test_images_outside_the_classes_are_refused(wrapper):
    with pytest.raises(
        DataError,
        match=r"0\.png is outside the sub-folders .*\(2 such of 6 images\): move it into one",
    ):
        read(f"{wrapper}c0", f"{wrapper}c1", wrapper.rstrip("/"))


def test_wrappers_inside_both_splits_are_no_classes():
    layout, _ = read("seg/train/train/a", "seg/train/train/b", "seg/test/test/a", "seg/test/test/b")
    assert set(layout.train.values()) == set(layout.test.values()) == {"a", "b"}
    assert layout.notes == (
        "training images from seg/train/train/, held-out images from seg/test/test/",
    )


def test_a_folder_inside_one_split_only_is_a_class():
    layout, _ = read("train/cat/x", "train/cat/y", "test/cat")
    assert set(layout.train.values()) == set(layout.test.values()) == {"cat"}


@pytest.mark.parametrize(
    "folders", [("train/cat", "train/dog", "test"), ("train", "test/cat", "test/dog")]
)
def test_a_split_without_the_class_folders_of_the_other_is_refused(folders):
    bare = next(folder for folder in folders if "/" not in folder)
    with pytest.raises(
        DataError, match=f"root/{bare} has no class folders, .*or pass only what is in train/"
    ):
        read(*folders)


@pytest.mark.parametrize(("known", "odd"), [("Cat", "cat"), ("caf\u00e9", "cafe\u0301")])
def test_a_class_that_is_spelled_in_two_ways_in_the_splits_is_refused(known, odd):
    with pytest.raises(DataError, match="is spelled .* rename one of them"):
        read(f"train/{known}", "train/dog", f"test/{odd}", "test/dog")


def test_splits_inside_the_classes_are_refused_as_test_images_would_be_trained_on():
    with pytest.raises(
        DataError,
        match=r"root/bottle .* put the splits above the classes \(train/bottle/, test/bottle/",
    ):
        read("bottle/train/good", "bottle/Test/broken", "cable/train", "cable/test")


def test_what_may_surprise_is_said():
    layout, _ = read("A", "a", "train", "deep/x/y")
    assert layout.notes == (
        "classes that differ only in case: A/, a/",
        "read as a class, not as a split: train/",
        "folders within a class are not classes (deep/x/y)",
    )
    assert set(layout.train.values()) == {"A", "a", "train", "deep"}


def test_a_label_file_gives_the_classes_and_folders_still_the_splits():
    layout, _ = read("in/00000", "in/00001", labelled="in/")
    assert (set(layout.train.values()), len(layout.train), layout.test) == ({""}, 4, None)
    layout, _ = read("train", "Test/x", labelled="")
    assert (len(layout.train), len(layout.test), set(layout.test.values())) == (2, 2, {""})


def test_a_name_with_a_line_break_stays_on_the_line():
    layout, _ = read("we\nird/a", "we\nird/b")
    assert layout.notes == (r"read inside we\nird/",)
