import dataclasses
import io
import sys

import pytest
import torch

from bench.arm import run_arm
from bench.config import Execution
from bench.data import Dataset, Origin, Split, announce, describe, load


@pytest.fixture(autouse=True)
def _fresh():
    announce.cache_clear()


def dataset(train=(0, 1, 2), test=(0, 1, 2), num_classes=3, shape=(3, 8, 6), origin=None):
    first, second = (
        Split(torch.zeros(len(part), *shape), torch.tensor(part)) for part in (train, test)
    )
    return Dataset("own", first, second, num_classes, origin=origin or Origin())


def test_the_line_tells_counts_size_classes_their_source_and_the_notes():
    origin = Origin("folders", ("ant", "bee", "cow"), ("skipped: 1 empty folder (x)", "and more"))
    assert (
        describe(dataset((0, 1, 1, 2), origin=origin))
        == "own: 4 training and 3 held-out images of 6 x 8 pixels, 3 channels; "
        "3 classes (labels: folders): ant, bee, cow; skipped: 1 empty folder (x); and more"
    )


def test_a_data_set_without_origin_is_described_as_well():
    assert (
        describe(load("digits"))
        == "digits: 1,437 training and 360 held-out images of 8 x 8 pixels, 1 channel; 10 classes"
    )


def test_points_are_not_called_images():
    assert describe(load("moons")).startswith(
        "moons: 10,000 training and 10,000 held-out points of 2 coordinates; "
    )


def test_one_class_without_labels_is_said_to_have_none():
    line = describe(dataset((0, 0), (0, 0), 1, origin=Origin("none, dataset.json says so")))
    assert line.endswith("; 1 class (labels: none, dataset.json says so)")


def test_many_classes_are_shortened():
    names = tuple(f"c{n}" for n in range(100))
    line = describe(dataset(range(100), range(100), 100, origin=Origin("folders", names)))
    assert line.endswith("100 classes (labels: folders): c0, c1, c2, c3, c4, ..., c99")


def test_classes_without_held_out_images_are_named():
    named = dataset(test=(1, 1), origin=Origin("folders", ("ant", "bee", "cow")))
    assert "; without held-out images: ant, cow" in describe(named)
    assert "; without held-out images: 0, 2" in describe(dataset(test=(1, 1)))


def test_odd_names_stay_on_one_line():
    line = describe(dataset(origin=Origin("folders", ("a\nb", "\udce9", "c"))))
    assert r": a\nb, \udce9, c" in line
    assert "\n" not in line


def test_the_origin_is_no_part_of_the_checksum():
    plain = dataset()
    assert (
        dataclasses.replace(plain, origin=Origin("folders", ("a", "b", "c"), ("x",))).checksum
        == plain.checksum
    )


def test_a_line_is_printed_once_also_where_the_terminal_lacks_its_letters(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    for line in ("caf\u00e9", "caf\u00e9", "tea"):
        announce(line)
    assert written.getvalue() == b"caf\\xe9\ntea\n"


def test_runs_of_one_data_set_print_its_line_once_before_anything_is_trained(
    tiny, tmp_path, capsys
):
    for coupling in ("random", "lapjv"):
        config = dataclasses.replace(tiny, coupling=coupling)
        run_arm(config, tmp_path, Execution(), progress=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "training and" in line] == [describe(load("digits"))]
