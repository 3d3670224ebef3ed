import hashlib
import io
import pickle
import tarfile

import numpy as np
import pooch
import pytest
import torch

from bench.data import DataError, cifar10, load

NAMES = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]


def batch(seed):
    """A batch of two images, with byte strings for keys as in the official ones."""
    pixels = np.random.default_rng(seed).integers(256, size=(2, 3072), dtype=np.uint8)
    content = {b"data": pixels, b"labels": [seed, 9 - seed], b"filenames": [b"a.png", b"b.png"]}
    rest = pickle.dumps(content, protocol=3)
    return official_names(rest), pixels


def official_names(content):
    """NumPy 2 writes its new private name, the official files carry the old one."""
    return content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """(data folder, pixels by batch) of six batches of two images, unpacked."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = {}
    for seed, name in enumerate(NAMES):
        content, pixels[name] = batch(seed)
        (folder / name).write_bytes(content)
        monkeypatch.setitem(cifar10._MD5, name, md5(content))
    return tmp_path, pixels


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError

    monkeypatch.setattr(pooch, "retrieve", refuse)


def publish(monkeypatch, content):
    """Let the archive's checksum be that of ``content``."""
    archive = cifar10.SourceFile(
        "cifar-10-python.tar.gz", md5(content), "http://example.invalid/cifar.tar.gz"
    )
    monkeypatch.setattr(cifar10, "_ARCHIVE", archive)


def pack(folder):
    """Turn the unpacked batches below ``folder`` into the archive's bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in NAMES:
            file = folder / "cifar-10-batches-py" / name
            tar.add(file, arcname=f"cifar-10-batches-py/{name}")
            file.unlink()
    return buffer.getvalue()


def assert_is_tiny(dataset, pixels):
    expected = np.concatenate([pixels[name] for name in NAMES[:5]]).reshape(10, 3, 32, 32)
    assert (dataset.train.images.numpy() == expected).all()
    assert dataset.train.labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert (dataset.test.images.numpy() == pixels["test_batch"].reshape(2, 3, 32, 32)).all()
    assert dataset.test.labels.tolist() == [5, 4]


def test_batches_are_joined_in_order(tiny, offline):
    folder, pixels = tiny
    assert_is_tiny(load("cifar10", folder), pixels)


def test_the_archive_serves_as_well(tiny, offline, monkeypatch):
    folder, pixels = tiny
    content = pack(folder)
    (folder / "cifar-10-python.tar.gz").write_bytes(content)
    publish(monkeypatch, content)
    assert_is_tiny(load("cifar10", folder), pixels)


def test_a_changed_batch_inside_the_archive_is_refused(tiny, offline, monkeypatch):
    folder, _ = tiny
    content = pack(folder)
    (folder / "cifar-10-python.tar.gz").write_bytes(content)
    publish(monkeypatch, content)
    monkeypatch.setitem(cifar10._MD5, "data_batch_3", "0" * 32)
    with pytest.raises(DataError, match="data_batch_3 is damaged"):
        load("cifar10", folder)


class Trap:
    """Unpickled, it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_malicious_batch_is_refused_before_it_is_opened(tiny, monkeypatch):
    folder, _ = tiny
    sprung = folder / "sprung"
    (folder / "cifar-10-batches-py/data_batch_2").write_bytes(pickle.dumps(Trap(sprung)))
    monkeypatch.setattr(
        cifar10, "_unpickle", lambda content: pytest.fail("opened before all were checked")
    )
    with pytest.raises(DataError, match="data_batch_2 is damaged"):
        load("cifar10", folder)
    assert not sprung.exists()


def test_even_with_the_right_checksum_a_malicious_batch_cannot_run(tiny, monkeypatch):
    folder, _ = tiny
    sprung = folder / "sprung"
    content = pickle.dumps(Trap(sprung), protocol=3)
    (folder / "cifar-10-batches-py/data_batch_2").write_bytes(content)
    monkeypatch.setitem(cifar10._MD5, "data_batch_2", md5(content))
    with pytest.raises(DataError, match="asks for io.open"):
        load("cifar10", folder)
    assert not sprung.exists()
    pickle.loads(content).close()  # the trap is a real one
    assert sprung.exists()


def test_offline_names_the_archive_the_folder_and_the_address(tmp_path, offline):
    with pytest.raises(DataError, match="cifar-10-python.tar.gz.*cifar-10-batches-py") as raised:
        load("cifar10", tmp_path)
    assert "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz" in str(raised.value)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.data
def test_real_set_has_the_published_moments(real_data):
    dataset = load("cifar10", real_data)
    images = dataset.train.images
    mean = images.sum(dim=(0, 2, 3)).double() / (images.numel() / 3 * 255)
    published = torch.tensor([0.4914, 0.4822, 0.4465], dtype=torch.float64)
    torch.testing.assert_close(mean, published, atol=1e-4, rtol=0)
    assert dataset.train.labels.bincount().tolist() == [5000] * 10
    # Frog, truck, truck, deer, automobile
    assert dataset.train.labels[:5].tolist() == [6, 9, 9, 4, 1]
