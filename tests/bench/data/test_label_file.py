import json
from pathlib import Path

import pytest

from bench.data import DataError
from bench.data._label_file import check, find, normal_name, parse
from bench.data._remarks import LOST, Remarks

WHERE = Path("set.zip")


def parsed(labels, file="dataset.json"):
    return parse(json.dumps({"labels": labels}).encode(), file, WHERE)


@pytest.mark.parametrize(
    "file", ["dataset.json", "Dataset.JSON", "photos/dataset.json", "a/b/DATASET.json"]
)
def test_the_file_is_found_in_any_case_in_the_folder_that_holds_all_images(file):
    base = file.rpartition("/")[0]
    images = [f"{base}/0/a.png".lstrip("/"), f"{base}/1/b.png".lstrip("/")]
    assert find([*images, file, "readme.txt"], images, WHERE) == file


def test_without_one_there_is_none_and_one_above_another_is_taken():
    assert find(["a.png", "labels.json"], ["a.png"], WHERE) is None
    assert find(["x/dataset.json", "dataset.json", "x/a.png"], ["x/a.png"], WHERE) == "dataset.json"


def test_a_file_that_is_not_above_all_images_is_refused_with_both_ways_out():
    with pytest.raises(
        DataError, match=r"in/dataset\.json, which is not at the top, and 1 images .*\(out/b\.png\)"
    ) as raised:
        find(["in/dataset.json"], ["in/a.png", "out/b.png"], WHERE)
    assert "zip from inside the folder" in str(raised.value)
    assert "remove it" in str(raised.value)


@pytest.mark.parametrize(
    "files", [("dataset.json", "Dataset.json"), ("train/dataset.json", "test/dataset.json")]
)
def test_two_files_at_one_level_are_refused(files):
    with pytest.raises(DataError, match="keep one dataset.json, at the top"):
        find(files, ["train/a.png", "test/a.png"], WHERE)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_labels_are_read_in_the_encodings_that_editors_write(encoding):
    content = json.dumps({"labels": [["\u00fc.png", 3]]}, ensure_ascii=False).encode(encoding)
    assert parse(content, "dataset.json", WHERE) == {"\u00fc.png": 3}


def test_names_are_relative_to_the_folder_of_the_file():
    assert parsed([["0/a.png", 1]], "photos/dataset.json") == {"photos/0/a.png": 1}
    assert parsed({"a.png": 1, r".\x\b.png": -1}) == {"a.png": 1, "x/b.png": -1}


@pytest.mark.parametrize("label", [1.0, 0.5, "cat", "3", [0, 1], None, True, float("nan")])
def test_labels_that_are_no_whole_numbers_are_refused(label):
    with pytest.raises(DataError, match="with whole numbers: the label of a.png is") as raised:
        parsed([["a.png", label]])
    assert "\n" not in str(raised.value)


def test_two_labels_for_one_image_are_refused_and_one_given_twice_is_not():
    assert parsed([["a.png", 1], ["./a.png", 1]]) == {"a.png": 1}
    with pytest.raises(DataError, match=r"labels a\.png both 1 and 2: remove one"):
        parsed([["a.png", 1], ["a.png", 2]])


@pytest.mark.parametrize("labels", [None, [], {}])
def test_no_labels_are_said_so(labels):
    assert parsed(labels) is None


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"{}", b'{"labels": 0}', b'{"labels": [[5, 1]]}', b"\xff\xfe\xff"]
)
def test_what_is_no_label_file_is_refused_in_one_line(content):
    with pytest.raises(DataError, match=r"^set\.zip/dataset\.json must read") as raised:
        parse(content, "dataset.json", WHERE)
    assert "\n" not in str(raised.value)


def test_images_without_label_are_refused_and_labels_without_image_are_counted():
    remarks = Remarks()
    labels = {"a.png": 0, "b.png": 1, "gone.png": 1}
    check(labels, ["a.png"], {"a.png", "b.png", "c.png"}, "dataset.json", WHERE, remarks)
    assert (remarks.counts, remarks.examples) == ({LOST: 1}, {LOST: "gone.png"})
    with pytest.raises(DataError, match=r"no label for 1 of 2 images, such as c\.png"):
        check(labels, ["a.png", "c.png"], {"a.png", "c.png"}, "dataset.json", WHERE, remarks)


def test_names_get_slashes():
    names = [r"00000\a.png", "./a.png", "/a//b.png", r".\x\\y.png", "x y/\u00fc.png"]
    assert [normal_name(name) for name in names] == [
        "00000/a.png",
        "a.png",
        "a/b.png",
        "x/y.png",
        "x y/\u00fc.png",
    ]
