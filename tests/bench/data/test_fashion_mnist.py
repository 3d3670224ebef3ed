import gzip
import hashlib
import struct

import numpy as np
import pooch
import pytest
import torch

from bench.data import DataError, fashion_mnist, load


def idx(array):
    """The IDX format, written out by hand."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A data folder with three training and two test images."""
    rng = np.random.default_rng(0)
    arrays = {
        "train-images-idx3-ubyte.gz": rng.integers(1, 256, (3, 28, 28), dtype=np.uint8),
        "train-labels-idx1-ubyte.gz": np.array([7, 0, 9], dtype=np.uint8),
        "t10k-images-idx3-ubyte.gz": rng.integers(1, 256, (2, 28, 28), dtype=np.uint8),
        "t10k-labels-idx1-ubyte.gz": np.array([3, 3], dtype=np.uint8),
    }
    assert arrays.keys() == fashion_mnist._MD5.keys()
    (tmp_path / "fashion-mnist").mkdir()
    for name, array in arrays.items():
        (tmp_path / "fashion-mnist" / name).write_bytes(idx(array))
        monkeypatch.setitem(fashion_mnist._MD5, name, hashlib.md5(idx(array)).hexdigest())
    return tmp_path, arrays


def test_images_are_centred_on_black(tiny):
    folder, arrays = tiny
    dataset = load("fashion-mnist", folder)
    images = dataset.train.images
    assert images.shape == (3, 1, 32, 32)
    assert images.dtype == torch.uint8
    assert (images[:, 0, 2:30, 2:30].numpy() == arrays["train-images-idx3-ubyte.gz"]).all()
    assert images.count_nonzero() == 3 * 28 * 28  # the pixels drawn above are never 0
    assert (dataset.train.labels.tolist(), dataset.test.labels.tolist()) == ([7, 0, 9], [3, 3])
    assert (
        dataset.test.images[:, 0, 2:30, 2:30].numpy() == arrays["t10k-images-idx3-ubyte.gz"]
    ).all()


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
def test_a_changed_file_is_refused(tiny, name):
    folder, _ = tiny
    with (folder / "fashion-mnist" / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DataError, match=f"{name} is damaged"):
        load("fashion-mnist", folder)


def test_offline_names_all_four_files(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError

    monkeypatch.setattr(pooch, "retrieve", refuse)
    with pytest.raises(DataError) as raised:
        load("fashion-mnist", tmp_path)
    assert all(f"/{name}" in str(raised.value) for name in fashion_mnist._MD5)


def test_idx_of_another_type_is_refused():
    with pytest.raises(DataError, match="not an IDX file"):
        fashion_mnist.parse_idx(gzip.compress(bytes([0, 0, 0x0D, 1, 0, 0, 0, 0])))


@pytest.mark.data
def test_real_set_has_the_published_moments(real_data):
    images = load("fashion-mnist", real_data).train.images[:, 0, 2:30, 2:30].double() / 255
    assert (images.mean().item(), images.std().item()) == pytest.approx((0.2860, 0.3530), abs=1e-4)
