"""Fashion-MNIST, from the four official IDX files, padded to 32x32.

Xiao, Rasul and Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms, 2017.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from bench.data._source import SourceFile, fetch
from bench.data.contract import DataError, Dataset, Split

SHAPE = (1, 32, 32)
CLASSES = 10

_FOLDER = "fashion-mnist"
_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
_PADDING = 2  # 28 to 32 pixels: the networks halve the side several times


def load(data_dir: Path | None = None) -> Dataset:
    """Fashion-MNIST as uint8 ``[n, 1, 32, 32]``, black outside the official 28x28: 60,000 and
    10,000 images.

    Raises:
        DataError: the files are missing and cannot be fetched, or fail their checksum.

    """
    files = []
    for name, md5 in _MD5.items():
        files.append(SourceFile(f"{_FOLDER}/{name}", md5, f"{_ADDRESS}/{name}"))
    train_images, train_labels, test_images, test_labels = map(parse_idx, fetch(files, data_dir))
    train = _split(train_images, train_labels)
    test = _split(test_images, test_labels)
    return Dataset("fashion-mnist", train, test, num_classes=CLASSES)


def parse_idx(compressed: bytes) -> Tensor:
    """Read a gzipped IDX file of unsigned bytes: two zeros, type 8, the number of axes, the sizes,
    the data.

    Raises:
        DataError: it is no such file.

    """
    content = gzip.decompress(compressed)
    if content[:3] != b"\x00\x00\x08":
        raise DataError("not an IDX file of unsigned bytes: fetch the official file")
    axes = content[3]
    shape = struct.unpack_from(f">{axes}I", content, 4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    # A copy: torch warns of arrays that cannot be written, such as bytes.
    return torch.from_numpy(values.reshape(shape).copy())


def _split(images: Tensor, labels: Tensor) -> Split:
    # [n, 28, 28] -> [n, 1, 32, 32]
    return Split(pad(images, [_PADDING] * 4)[:, None], labels.long())
