import io
import json
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
    assert dataset.test.images[:, 0, 0, 0].tolist() == [27, 28, 29, 57, 58, 59]  # the 10th and 20th of each class
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


def test_hidden_and_other_files_are_passed_over(tmp_path):
    plain = write(tmp_path / "plain.zip", numbered(10))
    clutter = {"__MACOSX/00000/._img00000000.png": b"no image", ".x.png": b"", "readme.txt": b"", "00000/": b""}
    mixed = write(tmp_path / "mixed.zip", {**clutter, **numbered(10)})
    assert load("image-zip", mixed).checksum == load("image-zip", plain).checksum


def test_a_resolution_resizes(labelled):
    assert load("image-zip", labelled, 2).image_shape == (3, 2, 2)


def test_missing_labels_are_counted_and_one_is_named(tmp_path):
    labels = [[name, 0] for name in names(17)]
    path = write(tmp_path / "set.zip", numbered(20), labels)
    with pytest.raises(DataError, match=r"no label for 3 of 20 images, such as 00000/img00000017\.png"):
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
    start = content.index(b"00000/img00000005.png") + 60  # within that image's bytes: its CRC no longer holds
    content[start] ^= 255
    labelled.write_bytes(content)
    with pytest.raises(DataError, match=r"set\.zip/00000/img00000005\.png cannot be read \(BadZipFile\): repair or"):
        load("image-zip", labelled)


def test_a_zip_cut_short_is_refused(labelled):
    labelled.write_bytes(labelled.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a zip, or a damaged one"):
        load("image-zip", labelled)
