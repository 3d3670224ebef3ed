"""CIFAR-10, from the official python batches.

Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.

The batches are pickles, and a pickle can run any code. Each is therefore checked against its
published MD5 before it is opened, and then opened by an unpickler that knows three NumPy names and
nothing else.
"""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.data._source import SourceFile, check, fetch, missing
from bench.data.contract import DataError, Dataset, Split

SHAPE = (3, 32, 32)
CLASSES = 10

_FOLDER = "cifar-10-batches-py"
_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
_ARCHIVE = SourceFile("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", _URL)
_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
# All that an array of bytes needs
_PICKLED = {("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}


def load(data_dir: Path | None = None) -> Dataset:
    """CIFAR-10 as uint8 ``[n, 3, 32, 32]`` in official order: 50,000 and 10,000 images.

    Read from the folder ``cifar-10-batches-py`` in ``data_dir``, or else from the official archive.

    Raises:
        DataError: the files are missing and cannot be fetched, or fail their checksum.

    """
    # The test batch comes last.
    *train, test = map(_unpickle, _batches(data_dir))
    return Dataset("cifar10", _split(train), _split([test]), num_classes=CLASSES)


def _batches(data_dir: Path | None) -> list[bytes]:
    """The six checked pickles, the test batch last."""
    unpacked = [SourceFile(f"{_FOLDER}/{name}", md5, _URL) for name, md5 in _MD5.items()]
    # Many machines have the folder from other projects, without the archive.
    if not missing(unpacked, data_dir):
        return fetch(unpacked, data_dir)
    (archive,) = fetch([_ARCHIVE], data_dir, instead=f" (or unpack it there, as {_FOLDER}/)")
    # From the bytes that were checked: the file on disk may change in between.
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = [tar.extractfile(f"{_FOLDER}/{name}").read() for name in _MD5]
    pairs = zip(members, _MD5.items(), strict=True)
    return [check(member, md5, name, _URL) for member, (name, md5) in pairs]


class _BatchUnpickler(pickle.Unpickler):
    """Admits what an array of bytes needs, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _PICKLED:
            raise DataError(
                f"a CIFAR-10 batch asks for {module}.{name}: fetch the official file from {_URL}"
            )
        return super().find_class(module, name)


def _unpickle(content: bytes) -> dict[bytes, Any]:
    return _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()


def _split(batches: list[dict[bytes, Any]]) -> Split:
    # [n, 3072]: red, green, blue, row by row
    pixels = np.concatenate([batch[b"data"] for batch in batches])
    labels: list[int] = []
    for batch in batches:
        labels += batch[b"labels"]
    return Split(torch.from_numpy(pixels).reshape(-1, 3, 32, 32), torch.tensor(labels))
