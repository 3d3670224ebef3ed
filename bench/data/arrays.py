"""Arrays of the user's own: images, latents or vectors in a file.

``--data-dir`` names a ``.npy``, ``.npz``, ``.safetensors`` or ``.pt`` file, or a folder of them
with ``train`` and ``test``. Images are ``[n, c, h, w]``, vectors ``[n, d]``, which become ``[n, d,
1, 1]``. Bytes are pixels; floats, such as the latents of an autoencoder, are taken as they are.
Labels are classes ``[n]`` or conditions ``[n, k]`` in an array of their own. Without held-out
images the last tenth of a shuffled order, of a fixed seed, is held out. A ``.npy`` file above 256
MiB stays on the disk, and each pool is read from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from bench.data._array_files import (
    IMAGES,
    LABELS,
    MAPPED_BYTES,
    TEST_IMAGES,
    TEST_LABELS,
    Content,
    Found,
    read,
)
from bench.data._stored import StoredImages, in_parts
from bench.data.contract import DataError, Dataset, Origin, Split

SHAPE = None  # that of the user's arrays
CLASSES = None

HELD_OUT = 10  # one of so many images is held out
SEED = 0  # of the shuffle before that
FEWEST = 2  # images of a split: with one there is no covariance
# Noise levels go from 80 down to 0.002: values far from 1 would be all noise, or never noisy.
DEVIATIONS = (0.02, 20.0)

Images = Tensor | StoredImages


@dataclass(frozen=True)
class _Scale:
    """Least and largest value, mean and standard deviation."""

    least: float
    largest: float
    mean: float
    deviation: float

    def __str__(self) -> str:
        return (
            f"{self.least:.3g} to {self.largest:.3g}, mean {self.mean:.3g}, standard deviation"
            f" {self.deviation:.3g}"
        )


def load(data_dir: Path | None = None, mapped_bytes: int = MAPPED_BYTES) -> Dataset:
    """The arrays in ``data_dir`` as uint8 or float32 ``[n, c, h, w]``.

    Args:
        data_dir: the file, or the folder that holds ``train`` and perhaps ``test``.
        mapped_bytes: size above which images of a ``.npy`` file stay on the disk.

    Raises:
        DataError: there is no such file, or it holds no images that can be trained on; the message
            names the way out.

    """
    if data_dir is None:
        raise DataError("--data arrays needs --data-dir FILE, such as latents.npy")
    content = read(Path(data_dir), mapped_bytes)
    train = _images(content[IMAGES])
    labels = _labels(content.get(LABELS), len(train), content[IMAGES])
    notes = []
    if TEST_IMAGES in content:
        test = _images(content[TEST_IMAGES])
        _refuse_others(content, train, test)
        test_labels = _labels(content.get(TEST_LABELS), len(test), content[TEST_IMAGES])
    else:
        held_out, kept = _held_out(len(train), content[IMAGES])
        test = _rows(train, held_out)
        train = _rows(train, kept)
        test_labels = None if labels is None else labels[held_out]
        labels = None if labels is None else labels[kept]
        notes.append(f"the last tenth is held out, after a shuffle of seed {SEED}")
    notes += _scale_notes(train, test, content)
    _refuse_unlike(labels, test_labels, content)
    source = "none"
    classes = 1
    if labels is None:
        labels = torch.zeros(len(train), dtype=torch.int64)
        test_labels = torch.zeros(len(test), dtype=torch.int64)
    else:
        source = content[LABELS].origin
        classes = _count_classes(labels, test_labels, content[LABELS])
    origin = Origin(source, (), tuple(notes))
    return Dataset(
        "arrays",
        # They are indexed as tensors are.
        Split(cast(Tensor, train), labels),
        Split(cast(Tensor, test), test_labels),
        classes,
        bounded=not train.is_floating_point(),
        origin=origin,
    )


def _images(found: Found) -> Images:
    """Images ``[n, c, h, w]``, uint8 or float32."""
    images = found.array
    shape = list(images.shape)
    # Shapes first: they say most about a wrong file.
    if images.dim() not in (2, 4):
        more = ", such as images[:, None] of one channel" if images.dim() == 3 else ""
        raise DataError(f"{found.origin} is {shape}: images are [n, c, h, w]{more}, vectors [n, d]")
    if isinstance(images, Tensor) and images.dim() == 2:
        images = images[:, :, None, None]
    count, channels, height, width = images.shape
    if channels > 4 and height == channels and width <= 4:
        raise DataError(
            f"{found.origin} is {shape}, channels last: save images.transpose(0, 3, 1, 2)"
        )
    if height != width:
        raise DataError(
            f"{found.origin} is {shape}: networks take square images; pad or crop them, or flatten"
            " them to vectors [n, d]"
        )
    if not channels * height * width:
        raise DataError(f"{found.origin} is {shape}: there are no values in an image; save others")
    if count < FEWEST:
        raise DataError(f"{found.origin} is {shape}: at least {FEWEST} images (better 1,000)")
    if isinstance(images, StoredImages) or images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise DataError(
            f"{found.origin} is {str(images.dtype).removeprefix('torch.')}: save pixels 0 to 255 as"
            " uint8, other values as float32"
        )
    return images.float().contiguous()


def _rows(images: Images, rows: Tensor) -> Images:
    return images.chosen(rows) if isinstance(images, StoredImages) else images[rows]


def _held_out(count: int, found: Found) -> tuple[Tensor, Tensor]:
    """Rows that are held out and rows to train on: files are often sorted by class."""
    held_out = count // HELD_OUT
    if held_out < FEWEST:
        raise DataError(
            f"{found.origin} has {count} images, and a tenth of them is held out: at least"
            f" {FEWEST * HELD_OUT}, or pass held-out ones as {TEST_IMAGES}"
        )
    generator = torch.Generator().manual_seed(SEED)
    order = torch.randperm(count, generator=generator, device="cpu")
    return order[count - held_out :], order[: count - held_out]


def _refuse_others(content: Content, train: Images, test: Images) -> None:
    """Refuse held-out images of another shape or type than those to train on."""
    if (train.shape[1:], train.dtype) != (test.shape[1:], test.dtype):
        kinds = []
        for role, images in ((IMAGES, train), (TEST_IMAGES, test)):
            dtype = str(images.dtype).removeprefix("torch.")
            kinds.append(f"{content[role].origin} holds {list(images.shape[1:])} {dtype}")
        raise DataError(f"{', '.join(kinds)}: save both alike")


def _scale_notes(train: Images, test: Images, content: Content) -> list[str]:
    """The scale of float values in words; pixels have one that everybody knows.

    Raises:
        DataError: values are not finite, or of a scale that noise levels are not made for.

    """
    if not train.is_floating_point():
        return []
    origin = content[IMAGES].origin
    _measured(test, content.get(TEST_IMAGES, content[IMAGES]).origin)
    scale = _measured(train, origin)
    low, high = DEVIATIONS
    if not low <= scale.deviation <= high:
        raise DataError(
            f"{origin} has values {scale}: bring the standard deviation to 0.5 or 1 (pixels 0 to"
            " 255: save them as uint8)"
        )
    # The last noise level, 80, would not cover such a mean, and sampling begins without one.
    if abs(scale.mean) > high:
        raise DataError(
            f"{origin} has values {scale}: subtract the mean (of each channel), and add it again in"
            " the decoder"
        )
    off = abs(scale.mean) > scale.deviation
    return [
        f"values as given: {scale}",
        *["their mean is larger than their deviation: subtract it from the values"] * off,
        "distances are between such values, not between decoded images",
    ]


def _measured(images: Images, origin: str) -> _Scale:
    """The scale of images, in float64 and chunk by chunk."""
    least, largest = math.inf, -math.inf
    bad = 0
    total = square = 0.0
    for chunk in in_parts(images):
        values = chunk.double()
        bad += int((~values.flatten(1).isfinite().all(1)).sum())
        least = min(least, values.min().item())
        largest = max(largest, values.max().item())
        total += values.sum().item()
        square += values.square().sum().item()
    if bad:
        raise DataError(
            f"{origin} holds NaN or infinity in {bad:,} of {len(images):,} images: drop these,"
            " images[numpy.isfinite(images.reshape(len(images), -1)).all(1)]"
        )
    count = math.prod(images.shape)
    mean = total / count
    return _Scale(least, largest, mean, math.sqrt(max(0.0, square / count - mean**2)))


def _labels(found: Found | None, count: int, images: Found) -> Tensor | None:
    """Classes ``[n]`` int64 or conditions ``[n, k]`` float32; None if there are none."""
    if found is None:
        return None
    labels = found.array
    if isinstance(labels, StoredImages):
        labels = labels[:].flatten(1)
    if not labels.dim() or len(labels) != count:
        raise DataError(
            f"{found.origin} is {list(labels.shape)}, {images.origin} has {count} images: one label"
            " for each image, in their order"
        )
    if labels.is_floating_point() and labels.dim() == 2 and labels.shape[1]:
        if not labels.isfinite().all():
            raise DataError(f"{found.origin} holds NaN or infinity: drop these conditions' images")
        return labels.float()
    # [n, 1] is how tables store a column.
    if labels.dim() == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dim() != 1 or labels.is_floating_point():
        raise DataError(
            f"{found.origin} is {list(labels.shape)} {str(labels.dtype).removeprefix('torch.')}:"
            " classes are integers [n] (one-hot rows: labels.argmax(1)), conditions are floats"
            " [n, k]"
        )
    return labels.long()


def _refuse_unlike(labels: Tensor | None, test_labels: Tensor | None, content: Content) -> None:
    """Refuse splits of which one has labels of another kind than the other, or none."""
    if (labels is None) != (test_labels is None):
        missing = LABELS if labels is None else TEST_LABELS
        raise DataError(
            f"{content[IMAGES].origin}: {missing} is missing: give both splits labels, or neither"
        )
    if labels is not None and labels.shape[1:] != test_labels.shape[1:]:
        raise DataError(
            f"{content[LABELS].origin} is {list(labels.shape)}, {content[TEST_LABELS].origin} is"
            f" {list(test_labels.shape)}: save both alike"
        )


def _count_classes(labels: Tensor, test_labels: Tensor, found: Found) -> int:
    """Number of classes; 1 of conditions."""
    if labels.is_floating_point():
        return 1
    together = torch.cat([labels, test_labels])
    least = int(together.min())
    classes = int(together.max()) + 1
    way_out = "number the classes 0, 1, ...: numpy.unique(labels, return_inverse=True)[1]"
    # Before they are counted: the largest of a few identifiers may be in the billions.
    if least < 0 or classes > len(together):
        raise DataError(f"{found.origin} holds {least} to {classes - 1}: {way_out}")
    missing = (torch.bincount(labels, minlength=classes) == 0).nonzero().flatten().tolist()
    if missing:
        raise DataError(
            f"{found.origin}: {len(missing)} of {classes} classes, such as {missing[0]}, have no"
            f" training image: add some, or {way_out}"
        )
    return classes
