"""What folder and zip share: each tree is read from both."""

import io
import json
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.data import DataError, load


def picture(n, kind="PNG", size=4):
    """An image of its own colour, with the number n in red and green."""
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (n % 256, n // 256, 255)).save(buffer, kind)
    return buffer.getvalue()


def grow(root, tree):
    """Write a tree of names and contents; a name that ends in a slash is a folder."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in tree.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def pack(path, tree, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in tree.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(params=["folder", "zip"])
def read(request, tmp_path):
    """The data set of a tree, as a folder or a zip."""

    def read(tree, resolution=None):
        if request.param == "folder":
            return load("image-folder", grow(tmp_path / "tree", tree), resolution)
        return load("image-zip", pack(tmp_path / "tree.zip", tree), resolution)

    return read


def images(*folders, each=20, suffix=".png"):
    """``each`` pictures in each folder, numbered throughout."""
    names = [f"{folder}/{n:02}{suffix}".lstrip("/") for folder in folders for n in range(each)]
    return {name: picture(n) for n, name in enumerate(names)}


def numbers(split):
    """The numbers of the pictures of a split."""
    return (split.images[:, 0, 0, 0].long() + 256 * split.images[:, 1, 0, 0].long()).tolist()


def text(dataset):
    return "; ".join(dataset.origin.notes)


@pytest.mark.parametrize("wrapper", ["", "archive/", "a/b/"])
def test_training_and_test_folders_of_any_case_are_the_splits(read, wrapper):
    tree = images(
        *(f"{wrapper}{split}/{name}" for split in ("Training", "Testing") for name in ("c0", "c1")),
        each=3,
    )
    dataset = read(tree)
    assert (numbers(dataset.train), numbers(dataset.test)) == (list(range(6)), list(range(6, 12)))
    assert dataset.train.labels.tolist() == dataset.test.labels.tolist() == [0] * 3 + [1] * 3
    assert (dataset.origin.labels, dataset.origin.classes) == ("folders", ("c0", "c1"))


@pytest.mark.parametrize("wrapper", ["", "dataset/", "a/b/"])
def test_folders_are_the_classes_at_the_top_or_in_a_wrapper(read, wrapper):
    dataset = read(
        {
            **images(f"{wrapper}c0", f"{wrapper}c1"),
            "README": b"",
            "__MACOSX/dataset/._0.png": b"",
            "L.md": b"",
        }
    )
    assert (dataset.num_classes, dataset.origin.classes) == (2, ("c0", "c1"))
    assert numbers(dataset.test) == [9, 19, 29, 39]
    assert dataset.test.labels.tolist() == [0, 0, 1, 1]
    skipped = "skipped: 1 hidden file or folder (__MACOSX), 2 files that are not images (L.md)"
    inside = [f"read inside {wrapper}"] if wrapper else []
    assert list(dataset.origin.notes) == [
        *inside,
        "every 10th image of a class is held out",
        skipped,
    ]


@pytest.mark.parametrize("file", ["dataset.json", "Dataset.JSON", "photos/dataset.json"])
def test_labels_of_a_file_at_the_top_of_the_images(read, file):
    base = file.rpartition("/")[0]
    tree = images(f"{base}/00000", f"{base}/00001")
    labels = [[name.removeprefix("photos/"), n % 2] for n, name in enumerate(tree)]
    dataset = read({**tree, file: json.dumps({"labels": labels}).encode()})
    assert (dataset.num_classes, dataset.origin.labels, dataset.origin.classes) == (
        2,
        file,
        ("0", "1"),
    )
    for split in (dataset.train, dataset.test):
        assert split.labels.tolist() == [number % 2 for number in numbers(split)]


def test_a_label_file_that_is_not_above_all_images_is_refused(read):
    with pytest.raises(
        DataError, match=r"not at the top, and 20 images outside .*zip from inside the folder"
    ):
        read({**images("photos", "others"), "photos/dataset.json": b'{"labels": null}'})


def test_labels_may_be_none_by_word_although_there_are_folders(read):
    dataset = read({**images("a", "b"), "dataset.json": b'{"labels": null}'})
    assert (dataset.num_classes, dataset.origin.labels) == (1, "none, dataset.json says so")
    assert not dataset.train.labels.any()


def test_labels_keep_the_splits_of_the_folders(read):
    tree = images("train", "test")
    labels = [[name, n % 3] for n, name in enumerate(tree)]
    dataset = read({**tree, "dataset.json": json.dumps({"labels": labels}).encode()})
    assert (numbers(dataset.train), numbers(dataset.test)) == (list(range(20)), list(range(20, 40)))


def test_gaps_and_negative_labels_are_shown_as_they_are_and_labels_without_image_counted(read):
    tree = images("")
    labels = [[name, (-1, 7)[n % 2]] for n, name in enumerate(tree)] + [["gone.png", 3]]
    dataset = read({**tree, "dataset.json": json.dumps({"labels": labels}).encode()})
    assert (dataset.num_classes, dataset.origin.classes) == (2, ("-1", "7"))
    assert dataset.origin.notes[-1] == "skipped: 1 label without an image (gone.png)"


def test_without_folders_and_labels_there_are_none(read):
    dataset = read(images(""))
    assert dataset.origin.labels == "none, no sub-folders, no dataset.json"
    assert dataset.origin.classes == ()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (
            images("", each=10),
            "1 held-out image: at least 2 .* are needed; add images or put some into test/",
        ),
        (images("a", each=10) | images("b", each=9), "1 held-out image: at least 2"),
        (images("train/a") | images("test/a", each=1), "1 held-out image: at least 2"),
        (
            images("train/a", each=1) | images("test/a"),
            "1 training image: at least 2 .* put some into train/",
        ),
        (images("", each=9), "no class has 10 images"),
        (images("train/a", "test/a", "test/b"), "is of class 'b', which has no training image"),
        (
            {"a.txt": b"", ".b.png": b""},
            r"no images in .*tree.*, only files such as a\.txt: it must hold files ending",
        ),
        ({".b/a.png": b""}, r"no images in .*, only files such as \.b"),
    ],
)
def test_too_few_images_are_refused_before_any_is_decoded(read, tree, message):
    with pytest.raises(DataError, match=message) as raised:
        read(
            {
                name: b"never decoded" if name.endswith(".png") else content
                for name, content in tree.items()
            }
        )
    assert "\n" not in str(raised.value)


def test_two_held_out_images_will_do(read):
    assert len(read(images("train") | images("test", each=2)).test) == 2


@pytest.mark.parametrize("suffix", [".HEIC", ".avif", ".jxl", ".CR2"])
def test_photographs_of_other_formats_are_refused_not_skipped(read, suffix):
    tree = images("a", "b") | images("a", each=3, suffix=suffix)
    with pytest.raises(
        DataError,
        match=rf"3 of 43 images are in a format .*a/00{suffix}: convert them to PNG or JPEG",
    ):
        read(tree)
    # Not read, so no harm
    assert read(images("train", "test") | images("val", suffix=suffix)).num_classes == 1


def test_files_of_all_kinds_are_counted_and_empty_folders_too(read):
    clutter = [
        "Thumbs.db",
        ".DS_Store",
        "a/x.npy",
        "a/._00.png",
        "a/b.png.part",
        "notes/labels.csv",
        "0001",
    ]
    tree = {
        **images("a", "b"),
        **dict.fromkeys(clutter, b""),
        "empty/": b"",
        "empty/er/": b"",
        ".git/": b"",
    }
    skipped = (
        "3 hidden files or folders (.DS_Store), 1 empty folder (empty), 5 files that are not images"
        " (0001)"
    )
    assert read(tree).origin.notes[-1] == f"skipped: {skipped}"


def test_suffixes_of_any_case_and_names_of_any_letters_are_read(read):
    names = [
        "A.PNG",
        "b.JPG",
        "c.JPEG",
        "d.Jpeg",
        "e f.png",
        "\u00fc.png",
        "g.h.png",
        "#1?.png",
        "100%.png",
        "'i'.png",
    ]
    dataset = read(
        {f"{folder}/{name}": picture(1) for folder in ("x y", "\u5b57") for name in names}
    )
    assert (len(dataset.train), len(dataset.test)) == (18, 2)
    assert dataset.origin.classes == ("x y", "\u5b57")


def test_images_that_are_not_read_whole_are_counted(read):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    animation = io.BytesIO()
    frames[0].save(animation, "GIF", save_all=True, append_images=frames[1:])
    deep = io.BytesIO()
    write_deep_png(deep)
    dataset = read({**images(""), "x.gif": animation.getvalue(), "y.png": deep.getvalue()})
    assert "1 animation is read as its first frame" in text(dataset)
    assert "1 image with 16 bits per channel is read as 8" in text(dataset)
    assert dataset.train.images[-2, :, 0, 0].tolist() == [255, 0, 0]
    assert dataset.train.images[-1, :, 0, 0].tolist() == [0x12, 0x34, 0x56]


def write_deep_png(file):
    """A PNG of 4x4 pixels of the colour (0x12ff, 0x34ff, 0x56ff); Pillow writes none."""
    import struct
    import zlib

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    rows = (b"\0" + b"\x12\xff\x34\xff\x56\xff" * 4) * 4
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header))
    file.write(chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def test_held_out_images_that_are_training_images_too_are_counted(read):
    tree = images("train") | {f"test/{n}.png": picture(n) for n in (3, 5, 77, 78)}
    note = read(tree).origin.notes[-1]
    assert note.startswith("2 held-out images are also training images (")
    assert note.endswith("/test/3.png)")


def test_a_photograph_of_very_many_pixels_is_read_and_one_of_too_many_refused(read, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30 * 30)
    tree = images("")
    # Without a warning
    assert read({**tree, "00.png": picture(0, size=35)}, 4).image_shape == (3, 4, 4)
    with pytest.raises(DataError, match=r"00\.png has more than 1,800 pixels: make it smaller$"):
        read({**tree, "00.png": picture(0, size=50)}, 4)


STEPS = [
    "a",
    "B",
    "b",
    "x y",
    "\u00fc",
    "train",
    "Test",
    "val",
    "Training",
    "wrap",
    ".hidden",
    "__MACOSX",
]
FOLDERS = st.lists(
    st.lists(st.sampled_from(STEPS), max_size=3).map("/".join), min_size=1, max_size=4, unique=True
)
CLUTTER = st.lists(
    st.sampled_from(["x.txt", "a/y.csv", ".z", "train/n.json"]), max_size=2, unique=True
)


@example(folders=["", "a/.hidden"], wrapper="", each=21, clutter=[])
@settings(max_examples=60, deadline=None)
@given(
    folders=FOLDERS,
    wrapper=st.sampled_from(["", "w/"]),
    each=st.sampled_from([2, 12, 21]),
    clutter=CLUTTER,
)
def test_the_zip_of_a_tree_is_the_data_set_of_the_folder(folders, wrapper, each, clutter):
    tree = {f"{wrapper}{name}": content for name, content in images(*folders, each=each).items()}
    tree |= dict.fromkeys(clutter, b"")
    with tempfile.TemporaryDirectory() as name:
        folder, archive = grow(Path(name) / "tree", tree), pack(Path(name) / "tree.zip", tree)
        unpacked, packed = outcome("image-folder", folder), outcome("image-zip", archive)
    assert unpacked == packed


def outcome(kind, path):
    """What comes of loading: the data set or the refusal, without the name of folder or zip."""
    try:
        dataset = load(kind, path)
    except DataError as error:
        return str(error).replace(str(path), "tree")
    return (
        dataset.checksum,
        dataset.origin.labels,
        dataset.origin.classes,
        text(dataset).replace(str(path), "tree"),
    )
