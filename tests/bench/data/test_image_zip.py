import io
import json
import os
import tarfile
import zipfile

import pytest
import torch
from PIL import Image

from bench.data import DataError, load


def png(value, mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, (4, 4), value).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def names(count):
    """As EDM's tool numbers its images."""
    return [f"{n // 1000:05}/img{n:08}.png" for n in range(count)]


def write(path, files, labels=None, compression=zipfile.ZIP_STORED, index=True):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if index:
            archive.writestr("dataset.json", json.dumps({"labels": labels}))
    return path


def numbered(count):
    """Image n is of the one colour (n, 0, 255)."""
    return {name: png((n, 0, 255)) for n, name in enumerate(names(count))}


@pytest.fixture
def labelled(tmp_path):
    labels = [[name, n % 3] for n, name in enumerate(names(60))]
    return write(tmp_path / "set.zip", numbered(60), labels[::-1])  # in any order: names decide


def test_images_carry_the_labels_of_the_index(labelled):
    dataset = load("image-zip", labelled)
    assert (dataset.name, dataset.image_shape, dataset.num_classes) == ("image-zip", (3, 4, 4), 3)
    for split in (dataset.train, dataset.test):
        number = split.images[:, 0, 0, 0].long()
        assert torch.equal(split.labels, number % 3)
        assert torch.equal(number, number.sort().values)
    # The 10th and 20th of each class
    assert dataset.test.images[:, 0, 0, 0].tolist() == [27, 28, 29, 57, 58, 59]
    assert len(dataset.train) == 54


def test_a_compressed_zip_is_the_same_data_set(labelled, tmp_path):
    with zipfile.ZipFile(labelled) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    packed = write(tmp_path / "packed.zip", files, compression=zipfile.ZIP_DEFLATED, index=False)
    assert packed.stat().st_size < labelled.stat().st_size
    assert load("image-zip", packed).checksum == load("image-zip", labelled).checksum


@pytest.mark.parametrize(("labels", "index"), [(None, True), ([], True), (None, False)])
def test_without_labels_there_is_one_class(tmp_path, labels, index):
    dataset = load("image-zip", write(tmp_path / "set.zip", numbered(20), labels, index=index))
    assert dataset.num_classes == 1
    assert not dataset.train.labels.any()
    assert dataset.test.images[:, 0, 0, 0].tolist() == [9, 19]


def test_hidden_and_other_files_are_skipped_and_counted(tmp_path):
    plain = write(tmp_path / "plain.zip", numbered(20))
    clutter = {
        "__MACOSX/00000/._img00000000.png": b"no image",
        ".x.png": b"",
        "readme.txt": b"",
        "00000/": b"",
    }
    mixed = write(tmp_path / "mixed.zip", {**clutter, **numbered(20)})
    dataset = load("image-zip", mixed)
    assert dataset.checksum == load("image-zip", plain).checksum
    skipped = (
        "skipped: 2 hidden files or folders (.x.png), 1 file that is not an image (readme.txt)"
    )
    assert dataset.origin.notes[-1] == skipped


def test_a_resolution_resizes(labelled):
    assert load("image-zip", labelled, 2).image_shape == (3, 2, 2)


def test_missing_labels_are_counted_and_one_is_named(tmp_path):
    labels = [[name, 0] for name in names(17)]
    path = write(tmp_path / "set.zip", numbered(20), labels)
    with pytest.raises(
        DataError, match=r"no label for 3 of 20 images, such as 00000/img00000017\.png"
    ):
        load("image-zip", path)


@pytest.mark.parametrize(
    "content",
    [
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"labels": 5}',
        b'{"labels": [["00000/img00000000.png"]]}',
        b'{"labels": [["00000/img00000000.png", [0.5, 0.5]]]}',
        b'{"labels": [["00000/img00000000.png", "cat"]]}',
        b'{"labels": [["00000/img00000000.png", true]]}',
    ],
)
def test_an_index_of_another_layout_is_refused_and_the_right_one_shown(tmp_path, content):
    path = write(tmp_path / "set.zip", {**numbered(1), "dataset.json": content}, index=False)
    with pytest.raises(DataError, match=r'dataset.json must read \{"labels": \[\["00000') as raised:
        load("image-zip", path)
    assert "\n" not in str(raised.value)


def test_what_is_no_zip_of_images_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(DataError, match=r"needs --data-dir FILE\.zip"):
        load("image-zip")
    with pytest.raises(DataError, match="there is no file .*gone.zip: pass the zip"):
        load("image-zip", tmp_path / "gone.zip")
    with pytest.raises(DataError, match="is a folder, not a zip: .*--data image-folder"):
        load("image-zip", tmp_path)
    with pytest.raises(DataError, match="no images in"):
        load("image-zip", write(tmp_path / "empty.zip", {}))
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(DataError, match=r"text\.zip is not a zip, or a damaged one"):
        load("image-zip", tmp_path / "text.zip")


def test_a_damaged_image_in_the_zip_is_named(labelled):
    content = bytearray(labelled.read_bytes())
    # Within that image's bytes: its CRC no longer holds
    start = content.index(b"00000/img00000005.png") + 60
    content[start] ^= 255
    labelled.write_bytes(content)
    with pytest.raises(
        DataError, match=r"set\.zip/00000/img00000005\.png cannot be read \(BadZipFile\): repair or"
    ):
        load("image-zip", labelled)


def test_a_zip_cut_short_is_refused(labelled):
    labelled.write_bytes(labelled.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a zip, or a damaged one"):
        load("image-zip", labelled)


def marked(path, local, central, value, chosen=b""):
    """The zip with two bytes of the headers of its entries changed (APPNOTE 4.3.7 and 4.3.12)."""
    content = bytearray(path.read_bytes())
    for signature, offset, length in ((b"PK\3\4", local, 30), (b"PK\1\2", central, 46)):
        start = content.find(signature)
        while start >= 0:
            if content[start + length :].startswith(chosen):
                content[start + offset : start + offset + 2] = value.to_bytes(2, "little")
            start = content.find(signature, start + 1)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("chosen", [b"", b"dataset.json", b"00000/img00000012"])
@pytest.mark.parametrize(
    ("local", "central", "value"),
    [(8, 10, 9), (8, 10, 99), (6, 8, 1), (6, 8, 0x41), (6, 8, 0x20)],
    ids=["Deflate64", "AES", "password", "strong encryption", "patch"],
)
def test_what_zipfile_cannot_unpack_is_refused_with_the_way_out(
    labelled, chosen, local, central, value
):
    marked(labelled, local, central, value, chosen)
    with pytest.raises(
        DataError,
        match=r"set\.zip: .* was made with Deflate64, a password or .*: zip the images again",
    ):
        load("image-zip", labelled)


def test_a_damaged_index_in_the_zip_is_named(labelled):
    content = bytearray(labelled.read_bytes())
    content[content.index(b'{"labels"') + 3] ^= 255
    labelled.write_bytes(content)
    with pytest.raises(
        DataError,
        match=r"set\.zip/dataset\.json cannot be read \(BadZipFile\): repair or remove it",
    ):
        load("image-zip", labelled)


def test_another_archive_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "images.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(write(tmp_path / "set.zip", numbered(1)))
    with pytest.raises(
        DataError,
        match="not a zip, .* any other archive unpack, and pass the folder with --data image-fol",
    ):
        load("image-zip", path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_zip_that_may_not_be_read_is_named(labelled):
    labelled.chmod(0)
    with pytest.raises(
        DataError, match=r"set\.zip cannot be read \(Permission denied\): check its permissions"
    ):
        load("image-zip", labelled)


@pytest.mark.parametrize("spelling", ["{}", "./{}", "/{}"])
@pytest.mark.parametrize("slash", ["/", "\\"])
@pytest.mark.parametrize("index", [True, False])
def test_names_as_other_programs_write_them_are_the_same_tree(tmp_path, spelling, slash, index):
    files = {f"c{n // 20}/{n:03}.png": png((n, 0, 255)) for n in range(40)}
    labels = [[name, n // 20] for n, name in enumerate(files)]
    plain = load("image-zip", write(tmp_path / "plain.zip", files, labels))
    odd = {spelling.format(name.replace("/", slash)): content for name, content in files.items()}
    odd_labels = [[spelling.format(name.replace("/", slash)), label] for name, label in labels]
    dataset = load("image-zip", write(tmp_path / "odd.zip", odd, odd_labels, index=index))
    assert dataset.checksum == plain.checksum
    assert dataset.num_classes == 2


def test_of_two_entries_of_one_name_the_last_is_read_as_in_unpacking_and_it_is_said(tmp_path):
    path = write(tmp_path / "set.zip", numbered(20), index=False)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("00000/img00000000.png", png((99, 0, 255)))
    dataset = load("image-zip", path)
    assert dataset.train.images[0, 0, 0, 0] == 99
    assert (
        dataset.origin.notes[-1]
        == "skipped: 1 earlier zip entry of the same name (00000/img00000000.png)"
    )


def test_the_folders_of_a_zip_without_index_are_classes_and_splits(tmp_path):
    folders = {
        f"{'Test' if n % 4 == 3 else 'train'}/c{n % 2}/{n:03}.png": png((n, 0, 255))
        for n in range(40)
    }
    del folders["Test/c1/003.png"]
    folders["Test/c0/003.png"] = png((3, 0, 255))
    dataset = load("image-zip", write(tmp_path / "set.zip", folders, index=False))
    assert (dataset.num_classes, dataset.origin.labels) == (2, "folders")
    assert dataset.test.images[:, 0, 0, 0].tolist() == [3, *range(7, 40, 4)]
    assert dataset.test.labels.tolist() == [0] + [1] * 9
