"""What a data set is, and how one is found by its name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from bench.process.defaults import plain_torch
from bench.record import UserError
from couplings import plugins

# The user's own: ``data_dir`` names the images, and they can be resized
OWN_IMAGES = ("image-folder", "image-zip")


class DataError(UserError):
    """The data set is unknown, missing or damaged; the message names the way out."""


@dataclass(frozen=True)
class Split:
    """Images ``[n, c, h, w]``, uint8 or float32 in [-1, 1], and labels ``[n]`` int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: str) -> Split:
        """The same split on another device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Origin:
    """How a data set was read, for the user to check; no result depends on it.

    Attributes:
        labels: what the labels were read from, or "" for the data set's own.
        classes: the names of the classes 0, 1, ..., where they have any.
        notes: choices made and files skipped, in phrases.

    """

    labels: str = ""
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A training and a held-out split with labels in ``0 .. num_classes - 1``.

    ``bounded`` says that values end at -1 and 1, as those of pictures do; points in the plane have
    no bounds.
    """

    name: str
    train: Split
    test: Split
    num_classes: int
    bounded: bool = True
    origin: Origin = Origin()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return tuple(self.train.images.shape[1:])

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over images and labels of both splits: what results and caches are keyed by."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            for tensor in (split.images, split.labels):
                digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
                digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def as_images(images: Tensor) -> Tensor:
    """Bring stored images ``[n, c, h, w]`` to float32 in [-1, 1]: uint8 by x / 127.5 - 1, floats as
    is.
    """
    if images.dtype == torch.uint8:
        return images.float().div_(127.5).sub_(1)
    return images


def names() -> tuple[str, ...]:
    """Names of the known data sets, one for each file in this folder."""
    return plugins.names("bench.data")


def find(name: str) -> ModuleType:
    """The module of a data set: one of this folder, or the user's own if the name has a dot.

    Raises:
        DataError: there is none.

    """
    try:
        return plugins.load("data set", name, "bench.data")
    except plugins.PluginError as error:
        raise DataError(str(error)) from error.__cause__


@plain_torch()
def load(name: str, data_dir: Path | None = None, resolution: int | None = None) -> Dataset:
    """Load the data set ``name``.

    Args: name: one of ``names()``, or the path of a module of your own, ``my_project.spirals``.
        data_dir: the folder that holds (or receives) its files; for ``image-folder`` the folder of
        images itself, for
            ``image-zip`` the zip itself.
        resolution: side, in pixels, to bring the user's own images to; None leaves them as stored.

    Raises: DataError: the name is unknown, or the files are missing and cannot be fetched, or are
        damaged; or
            ``resolution`` does not apply; or what was read is not what ``Dataset`` promises.

    """
    check_resolution(name, resolution)
    module = find(name)
    dataset = module.load(data_dir, resolution) if name in OWN_IMAGES else module.load(data_dir)
    for split in (dataset.train, dataset.test):
        _check(split, dataset)
    return dataset


def _check(split: Split, dataset: Dataset) -> None:
    """Refuse a split that does not hold what ``Split`` promises.

    Raises:
        DataError: images or labels of another type or shape, or labels out of range.

    """
    images, labels, classes = split.images, split.labels, dataset.num_classes
    if labels is None or classes < 1:
        raise DataError(
            f"{dataset.name}: images without labels take zeros [n] int64 and num_classes=1"
        )
    if images.dim() != 4 or images.dtype not in (torch.uint8, torch.float32):
        raise DataError(
            f"{dataset.name}: images must be [n, c, h, w], uint8 or float32, not {_said(images)}"
        )
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise DataError(
            f"{dataset.name}: labels must be [{len(images)}] int64, not {_said(labels)}"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(
            f"{dataset.name}: labels must be 0 to {classes - 1}, not {labels.min()} to"
            f" {labels.max()}"
        )


def _said(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def check_resolution(name: str, resolution: int | None) -> None:
    """Refuse a resolution that the data set ``name`` cannot be brought to.

    Raises:
        DataError: its size is fixed, or the resolution is below 1.

    """
    if resolution is None:
        return
    if name not in OWN_IMAGES:
        raise DataError(
            f"--resolution {resolution}: {name} has a fixed size, leave it out "
            f"(only {' and '.join(OWN_IMAGES)} can be resized)"
        )
    if resolution < 1:
        raise DataError(f"--resolution {resolution}: at least 1 pixel")
