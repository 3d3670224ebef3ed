import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from bench.check import make
from bench.config import ConfigError
from bench.data import DataError, describe, load
from bench.record import RunFolder
from bench.run import main


def draw(path, value=0, size=8):
    """A noisy PNG round one grey value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(-8, 9, (size, size))
    Image.fromarray((value + noise).clip(0, 255).astype(np.uint8)).save(path)


def draw_many(folder, count, first=0, **options):
    for n in range(count):
        draw(folder / f"{n:03}.png", first + n, **options)


def levels(split):
    """Grey value that each image was drawn round, in order."""
    return [image.float().mean().round(decimals=-1).item() for image in split.images]


def test_sub_folders_sorted_by_name_are_the_classes(tmp_path):
    for level, name in ((200, "zebra"), (100, "ant"), (20, "bee")):
        for n in range(10):
            draw(tmp_path / name / f"{n}.png", level)
    dataset = load("image-folder", tmp_path)
    assert (dataset.name, dataset.image_shape, dataset.num_classes) == (
        "image-folder",
        (1, 8, 8),
        3,
    )
    assert dataset.train.labels.tolist() == [0] * 9 + [1] * 9 + [2] * 9
    assert levels(dataset.train) == [100.0] * 9 + [20.0] * 9 + [200.0] * 9
    assert (levels(dataset.test), dataset.test.labels.tolist()) == ([100.0, 20.0, 200.0], [0, 1, 2])
    assert dataset.bounded


def test_without_sub_folders_there_is_one_class_and_the_tenth_by_name_is_held_out(tmp_path):
    names = [f"{n}.png" for n in range(1, 21)]
    for n, name in enumerate(names):
        Image.new("L", (4, 4), n + 1).save(tmp_path / name)
    dataset = load("image-folder", tmp_path)
    held_out = [sorted(names)[index] for index in (9, 19)]  # by name, so 10.png comes before 2.png
    assert dataset.test.images[:, 0, 0, 0].tolist() == [int(name[:-4]) for name in held_out]
    assert len(dataset.train) == 18
    assert dataset.num_classes == 1
    assert not dataset.train.labels.any()


def test_deeper_folders_belong_to_the_first_level_one(tmp_path):
    draw_many(tmp_path / "a" / "x", 6)
    draw_many(tmp_path / "a" / "y" / "z", 14)
    draw_many(tmp_path / "b", 3)
    dataset = load("image-folder", tmp_path)
    assert dataset.num_classes == 2
    assert dataset.train.labels.tolist() == [0] * 18 + [1] * 3


def test_train_and_test_folders_are_the_splits_and_nothing_beside_them_is_read(tmp_path):
    for split, count in (("train", 5), ("test", 2)):
        for name, level in (("cat", 50), ("dog", 150)):
            draw_many(tmp_path / split / name, count, level)
    draw(tmp_path / "val" / "cow" / "a.png")
    (tmp_path / "cover.png").write_bytes(b"damaged")
    dataset = load("image-folder", tmp_path)
    assert dataset.train.labels.tolist() == [0] * 5 + [1] * 5
    assert dataset.test.labels.tolist() == [0] * 2 + [1] * 2
    draw(tmp_path / "test" / "cow" / "a.png")
    with pytest.raises(
        DataError, match=r"test/cow/a.png is of class 'cow', which has no training image"
    ):
        load("image-folder", tmp_path)


@pytest.mark.parametrize("names", [("train",), ("test", "val"), ("Test",), ("train", "Training")])
def test_one_split_of_two_is_no_class(tmp_path, names):
    for name in names:
        draw_many(tmp_path / name / "cat", 10)
    with pytest.raises(
        DataError, match="name them train/ and test/, or pass only what is in one of them"
    ):
        load("image-folder", tmp_path)


def test_hidden_files_and_files_of_other_kinds_are_skipped_and_counted(tmp_path):
    draw_many(tmp_path / "a", 20)
    checksum = load("image-folder", tmp_path).checksum
    for name in (
        "a/.hidden.png",
        "a/._000.png",
        ".git/x.png",
        "a/notes.txt",
        "readme.md",
        "a/000.png.part",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    dataset = load("image-folder", tmp_path)
    assert dataset.checksum == checksum
    others = "3 files that are not images (a/000.png.part)"
    assert (
        dataset.origin.notes[-1]
        == f"skipped: 3 hidden files or folders (.git), 1 empty folder (empty), {others}"
    )


def test_the_order_is_that_of_the_paths_not_of_the_disk(tmp_path):
    for root, order in ((tmp_path / "one", range(20)), (tmp_path / "two", reversed(range(20)))):
        for n in order:
            draw(root / "ab"[n % 2] / f"{n}.png", n)
    assert (
        load("image-folder", tmp_path / "one").checksum
        == load("image-folder", tmp_path / "two").checksum
    )


def test_links_are_followed_but_not_in_a_circle(tmp_path):
    draw_many(tmp_path / "images" / "a", 10)
    draw_many(tmp_path / "elsewhere", 10)
    root = tmp_path / "images"
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "self").symlink_to(root / "a")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    dataset = load("image-folder", root)
    # "b/back" leads up to the whole again, and there the way ends: neither a nor b is counted
    # twice.
    assert (len(dataset.train), len(dataset.test)) == (18, 2)
    assert dataset.num_classes == 2


def test_a_damaged_image_is_named(tmp_path):
    draw_many(tmp_path / "a", 20)
    (tmp_path / "a" / "004.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"a/004\.png cannot be read .*: repair or remove it"):
        load("image-folder", tmp_path)


def test_a_link_to_nowhere_is_named(tmp_path):
    draw_many(tmp_path / "a", 20)
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(
        DataError,
        match=r"a/gone\.png cannot be read \(No such file or directory\): remove the link",
    ):
        load("image-folder", tmp_path)


def test_what_is_no_file_is_not_read_and_a_link_in_a_circle_is_refused(tmp_path):
    draw_many(tmp_path / "a", 20)
    os.mkfifo(tmp_path / "a" / "pipe.png")  # to read it would take forever
    (tmp_path / "a" / "link.png").symlink_to(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    notes = load("image-folder", tmp_path).origin.notes
    assert notes[-1].startswith("skipped: ")
    assert "2 files that are not images" in notes[-1]
    assert "1 link back to a folder above it (back)" in notes[-1]
    (tmp_path / "a" / "x.png").symlink_to(tmp_path / "a" / "y.png")
    (tmp_path / "a" / "y.png").symlink_to(tmp_path / "a" / "x.png")
    with pytest.raises(DataError, match=r"a/x\.png cannot be read .*: remove the link"):
        load("image-folder", tmp_path)


def test_a_name_that_is_no_text_is_read_and_printed(tmp_path):
    folder = tmp_path / "caf\udce9"  # as ext4 keeps the Latin-1 bytes of an old disk
    draw_many(folder, 20)
    draw_many(tmp_path / "tea", 20)
    dataset = load("image-folder", tmp_path)
    assert r"caf\udce9, tea" in describe(dataset)
    (folder / "000.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"caf\\udce9/000\.png cannot be read"):
        load("image-folder", tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    draw_many(tmp_path / "a", 10)
    (tmp_path / "b").mkdir(mode=0)
    with pytest.raises(DataError, match=r"/b cannot be read .*: check its permissions"):
        load("image-folder", tmp_path)


def test_what_is_no_folder_of_images_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(DataError, match="needs --data-dir FOLDER"):
        load("image-folder")
    with pytest.raises(DataError, match="there is no folder .*gone: pass the folder"):
        load("image-folder", tmp_path / "gone")
    with pytest.raises(DataError, match=r"no images in .*: it must hold files ending in .*\.png"):
        load("image-folder", tmp_path)
    (tmp_path / "x.zip").touch()
    with pytest.raises(
        DataError, match="for a zip pass --data image-zip, unpack any other archive"
    ):
        load("image-folder", tmp_path / "x.zip")


def test_an_image_beside_the_classes_has_no_label_and_is_refused(tmp_path):
    draw_many(tmp_path / "a", 10)
    draw(tmp_path / "loose.png")
    with pytest.raises(
        DataError, match=r"loose\.png is outside the sub-folders .*: move it into one"
    ):
        load("image-folder", tmp_path)


def test_the_unzipped_folder_of_edm_has_the_labels_of_its_index(tmp_path):
    for n in range(40):
        draw(tmp_path / f"{n // 20:05}" / f"{n:03}.png", 100 * (n % 2) + 50)
    labels = [[f"{n // 20:05}/{n:03}.png", n % 2] for n in range(40)]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    dataset = load("image-folder", tmp_path)
    assert (dataset.num_classes, dataset.origin.labels) == (2, "dataset.json")
    assert levels(dataset.train) == [100.0 * label + 50 for label in dataset.train.labels.tolist()]
    (tmp_path / "dataset.json").write_text('{"labels": null}')
    assert load("image-folder", tmp_path).num_classes == 1


def test_the_resolution_is_part_of_the_configuration_and_of_no_other_data_set():
    plain = make(None, {"data": "image-folder"})
    assert plain.resolution is None
    resized = make(None, {"data": "image-folder", "resolution": 32})
    assert resized.resolution == resized.identity["resolution"] == 32
    assert plain.digest != resized.digest
    with pytest.raises(ConfigError, match="digits has a fixed size, leave it out"):
        make(None, {"data": "digits", "resolution": 32})
    with pytest.raises(ConfigError, match="at least 1 pixel"):
        make(None, {"data": "image-folder", "resolution": 0})


def two_classes(folder):
    """Dark and bright images of 12 pixels, which any classifier tells apart."""
    for name, level in (("dark", 20), ("bright", 170)):
        draw_many(folder / name, 40, level, size=12)


def flags_for(folder, tmp_path, tiny_flags):
    return [
        "--data",
        "image-folder",
        "--data-dir",
        str(folder),
        "--runs",
        str(tmp_path / "runs"),
        *tiny_flags,
        "--attn-resolutions",
        "--num-blocks",
        "1",
    ]


def test_from_a_folder_to_a_report_and_never_the_results_of_another_folder(
    tmp_path, tiny_flags, capsys
):
    two_classes(tmp_path / "images")
    flags = [
        *flags_for(tmp_path / "images", tmp_path, tiny_flags),
        "--resolution",
        "8",
        "--no-baseline",
    ]
    assert main(flags) == 0
    (folder,) = (RunFolder(path.parent) for path in (tmp_path / "runs").glob("*/config.json"))
    assert (folder.config()["resolution"], folder.status()["state"]) == (8, "done")
    assert (
        folder.provenance()["data_checksum"]
        == load("image-folder", tmp_path / "images", 8).checksum
    )
    assert main(flags) == 0
    draw(tmp_path / "images" / "dark" / "000.png", 30, size=12)
    capsys.readouterr()
    assert main(flags) == 2
    assert "begun with other data of the same name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], ["6 x 6 pixels", "2 times", "--channel-mult", "--resolution"]),
        (
            ["--channel-mult", "1", "--conditional", "--coupling", "random"],
            ["--conditional", "no labels"],
        ),
    ],
)
def test_what_only_the_images_show_is_refused_before_anything_is_written(
    tmp_path, tiny_flags, capsys, flags, words
):
    draw_many(tmp_path / "images", 20, size=6)
    given = flags_for(tmp_path / "images", tmp_path, tiny_flags)
    assert main([*given, "--resolution", "6", "--channel-mult", "1", "1", "1", *flags]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    for word in words:
        assert word in message
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.data
def test_cifar10_exported_to_files_comes_back_bit_for_bit(real_data, tmp_path):
    original = load("cifar10", real_data).train
    for n in range(300):
        label = original.labels[n].item()
        path = tmp_path / f"{label}" / f"{n:05}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(original.images[n].permute(1, 2, 0).numpy()).save(path)
    dataset = load("image-folder", tmp_path)
    order = sorted(range(300), key=lambda n: (original.labels[n].item(), n))
    images, labels = original.images[order], original.labels[order]
    position = torch.cat([torch.arange(1, count + 1) for count in labels.bincount()])
    held_out = position % 10 == 0
    assert dataset.num_classes == 10
    for split, rows in ((dataset.train, ~held_out), (dataset.test, held_out)):
        assert torch.equal(split.images, images[rows])
        assert torch.equal(split.labels, labels[rows])
