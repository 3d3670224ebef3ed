"""The contract of data sets, and how one is found by its name.

A data set is a module with three names::

    SHAPE = (3, 32, 32)                              # channels, height, width of every image
    CLASSES = 10                                     # labels are 0 .. CLASSES - 1
    def load(data_dir: Path | None) -> Dataset: ...
"""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from bench import plugins
from bench.data._decoded import DecodedImages
from bench.data._stored import StoredImages, in_parts
from bench.process.defaults import plain_torch
from bench.record import UserError
from couplings.spec import read_options, split_spec

# The user's own images: ``data_dir`` names them, and they can be resized.
OWN_IMAGES = ("image-folder", "image-zip", "hf", "torchvision")
# All data of the user's own that ``data_dir`` names.
OWN_DATA = (*OWN_IMAGES, "arrays")
GAUSSIAN = "gaussian"  # the source that is no data set: N(0, I)


class DataError(UserError):
    """The data set is unknown, missing or damaged; the message names the way out."""


@dataclass(frozen=True)
class Split:
    """Images ``[n, c, h, w]``, uint8 or float32 in [-1, 1], and labels ``[n]`` int64.

    In place of classes, labels may be conditions ``[n, k]`` float32: k numbers for each image.

    Images may also be ``StoredImages``, which are indexed as a tensor is and read from their file.

    ``source`` holds points ``[m, c, h, w]`` of the same kind that noise samples are drawn from;
    None for Gaussian noise.
    """

    images: Tensor
    labels: Tensor
    source: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: str) -> Split:
        """The same split on another device."""
        source = None if self.source is None else self.source.to(device)
        return Split(self.images.to(device), self.labels.to(device), source)


@dataclass(frozen=True)
class Origin:
    """Notes on how a data set was read, for the user to check; no result depends on them.

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
    """A training and a test split with labels in ``0 .. num_classes - 1``.

    With conditions in place of classes, ``num_classes`` is 1.

    ``bounded`` is True if values end at -1 and 1, as those of pictures do; points in the plane have
    no bounds.
    """

    name: str
    train: Split
    test: Split
    num_classes: int
    # Pictures are stored with 8 bits, so generated ones are cut and rounded alike.
    bounded: bool = True
    origin: Origin = Origin()
    # Weights can be selected by the loss on it, see ``--select-every``; None without.
    validation: Split | None = None
    # Noise samples are drawn from it: those of training from its training split, those of sampling
    # from its test split. None for Gaussian noise. See ``from_source``.
    source: Dataset | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def has_conditions(self) -> bool:
        """True if labels are numbers ``[n, k]`` in place of classes."""
        return self.train.labels.is_floating_point()

    @property
    def label_dim(self) -> int:
        """Length of the label that a conditional network is given."""
        return self.train.labels.shape[1] if self.has_conditions else self.num_classes

    @property
    def splits(self) -> list[Split]:
        """The training and the test split, and that for validation if there is one."""
        splits = [self.train, self.test]
        if self.validation is not None:
            splits.append(self.validation)
        return splits

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over images and labels of all splits: what results and caches are keyed by."""
        digest = hashlib.sha256()
        # Type and shape too: the same bytes can be other images.
        for split in self.splits:
            for tensor in (split.images, split.labels):
                digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
                # In parts: images may be larger than memory.
                for part in in_parts(tensor):
                    digest.update(part.contiguous().numpy().tobytes())
        # Other noise samples are other data: neither results nor fits may be shared.
        if self.source is not None:
            digest.update(self.source.checksum.encode())
        return digest.hexdigest()

    def from_source(self, source: Dataset) -> Dataset:
        """The same data set, whose noise samples are drawn from another one.

        Raises:
            DataError: its images have another shape.

        """
        if source.image_shape != self.image_shape:
            raise DataError(
                f"--source {source.name}: its images are {list(source.image_shape)}, those of"
                f" {self.name} are {list(self.image_shape)}; take a source of the same shape"
            )
        train = replace(self.train, source=source.train.images)
        test = replace(self.test, source=source.test.images)
        validation = self.validation
        if validation is not None:
            held_out = source.test if source.validation is None else source.validation
            validation = replace(validation, source=held_out.images)
        return replace(self, train=train, test=test, validation=validation, source=source)


def as_images(images: Tensor) -> Tensor:
    """Bring stored images ``[n, c, h, w]`` to float32 in [-1, 1]: uint8 by x / 127.5 - 1, floats as
    is.

    Raises:
        StoredError: memory cannot hold images that are in a file.

    """
    if isinstance(images, StoredImages | DecodedImages):
        images = images[:]
    # In place: a pool of photographs should not be held twice.
    if images.dtype == torch.uint8:
        return images.float().div_(127.5).sub_(1)
    return images


def names() -> tuple[str, ...]:
    """Names of the known data sets, one for each file in this folder."""
    return plugins.names("bench.data")


def is_users_own(name: str) -> bool:
    """True if the name alone does not say which images it stands for: a user can change them."""
    return plain_name(name) in OWN_DATA or "." in name


def plain_name(spec: str) -> str:
    """The name of a data set without its options: ``hf`` of ``hf:name=ylecun/mnist``."""
    return spec.partition(":")[0]


def find(name: str) -> ModuleType:
    """The module of a data set: one of this folder, or the user's own if the name has a dot.

    Raises:
        DataError: there is none, or it has no such options.

    """
    # A module that needs a library which is not installed keeps its own error as the cause.
    try:
        plain, words = split_spec(name)
        module = plugins.load("data set", plain, "bench.data")
        if words:
            read_options(module.load, words, plain)
        return module
    except plugins.PluginError as error:
        raise DataError(str(error)) from error.__cause__


def stated(name: str) -> tuple[tuple[int, int, int] | None, int | None]:
    """Image shape (channels, height, width) and number of classes, without loading anything.

    Both are None for the user's own images, which may have any size.

    Raises:
        DataError: there is no such data set, or its file does not state them.

    """
    # The speed benchmark and checks need them without the files, which may be gigabytes.
    module = find(name)
    try:
        return module.SHAPE, module.CLASSES
    except AttributeError as error:
        raise DataError(
            f"data set {name!r}: its file must state SHAPE = (channels, height, width) and"
            f" CLASSES: {error}"
        ) from None


@plain_torch()
def load(
    name: str,
    data_dir: Path | None = None,
    resolution: int | None = None,
    source: str = GAUSSIAN,
) -> Dataset:
    """Load the data set ``name``.

    Args:
        name: one of ``names()``, or the path of a module of your own, ``my_project.spirals``; the
            keyword-only parameters of its ``load`` are options, ``hf:name=NAME``.
        data_dir: the folder that holds (or receives) its files; for ``image-folder`` the folder of
            images itself, for ``image-zip`` the zip, for ``arrays`` their file.
        resolution: side, in pixels, to bring the user's own images to; None leaves them as stored.
        source: name of the data set that noise samples are drawn from, or ``gaussian``.

    Raises:
        DataError: a name is unknown, or the files are missing and cannot be fetched, or are
            damaged; or ``resolution`` does not apply; or the module's ``load`` does not take
            ``data_dir``; or what was read is not what ``Dataset`` promises; or the source has
            images of another shape.

    """
    check_resolution(name, resolution)
    shape, classes = stated(name)
    module = find(name)
    # Only these can be brought to another size: others have published ones.
    plain, words = split_spec(name)
    options = read_options(module.load, words, plain) if words else {}
    if plain in OWN_IMAGES:
        dataset = module.load(data_dir, resolution, **options)
    else:
        _check_takes_folder(name, module)
        dataset = module.load(data_dir, **options)
    if not isinstance(dataset, Dataset):
        raise DataError(
            f"{name}: load(data_dir) must return a bench.data.Dataset, got {type(dataset).__name__}"
        )
    # A run is found by the name that was asked for, whatever the module calls its data.
    if dataset.name != name:
        dataset = replace(dataset, name=name)
    for split in dataset.splits:
        _check(split, dataset)
        if split.labels.shape[1:] != dataset.train.labels.shape[1:]:
            raise DataError(f"{name}: labels of the splits differ in kind")
    # Settings that were chosen by the stated shape would not suit the images.
    if shape is not None and (dataset.image_shape, dataset.num_classes) != (shape, classes):
        raise DataError(
            f"{name}: its file states SHAPE {tuple(shape)} and CLASSES {classes}, but its images"
            f" are {dataset.image_shape} in {dataset.num_classes} classes"
        )
    return dataset if source == GAUSSIAN else dataset.from_source(load(source, data_dir))


def check_resolution(name: str, resolution: int | None) -> None:
    """Refuse a resolution that the data set ``name`` cannot be brought to.

    Raises:
        DataError: its size is fixed, or the resolution is below 1.

    """
    if resolution is None:
        return
    if plain_name(name) not in OWN_IMAGES:
        raise DataError(
            f"--resolution {resolution}: {name} has a fixed size, leave it out "
            f"(only {', '.join(OWN_IMAGES)} can be resized)"
        )
    if resolution < 1:
        raise DataError(f"--resolution {resolution}: at least 1 pixel")


def check_source(source: str) -> None:
    """Refuse a source that is no data set, or that ``--data-dir`` cannot name as well.

    Raises:
        DataError: with the way out.

    """
    if source == GAUSSIAN:
        return
    # One folder cannot be that of the images and that of the source.
    if plain_name(source) in OWN_DATA:
        raise DataError(
            f"--source {source}: --data-dir names only the images of --data; write a module that"
            " loads the source, --source my_project.source"
        )
    find(source)


def _check_takes_folder(name: str, module: ModuleType) -> None:
    """Refuse a module whose ``load`` is missing or does not take the folder.

    Raises:
        DataError: with the line to write.

    """
    # Before the call: a TypeError from inside a user's ``load`` keeps its own traceback.
    try:
        inspect.signature(module.load).bind(None)
    except (AttributeError, TypeError):
        raise DataError(f"{name}: load must accept data_dir: def load(data_dir=None)") from None


def _check(split: Split, dataset: Dataset) -> None:
    """Refuse a split that does not hold what ``Split`` promises.

    Raises:
        DataError: images or labels of another type or shape, images that are not finite, or labels
            out of range.

    """
    # Wrong types would fail hours later, in a metric or a solver, far from their cause.
    name = dataset.name
    images = split.images
    labels = split.labels
    classes = dataset.num_classes
    if labels is None or classes < 1:
        raise DataError(f"{name}: images without labels take zeros [n] int64 and num_classes=1")
    if images.dim() != 4 or images.dtype not in (torch.uint8, torch.float32):
        raise DataError(
            f"{name}: images must be [n, c, h, w], uint8 or float32, not {_described(images)}"
        )
    # One NaN would turn the loss of a whole training into NaN. Bytes are always finite.
    if images.is_floating_point():
        bad = 0
        for part in in_parts(images):
            bad += int((~part.flatten(1).isfinite().all(1)).sum())
        if bad:
            raise DataError(f"{name}: images hold NaN or infinite values ({bad} of {len(images)})")
    if labels.dtype == torch.float32 and labels.dim() == 2:
        _check_conditions(name, labels, len(images), classes)
        return
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise DataError(
            f"{name}: labels must be [{len(images)}] int64, or conditions [{len(images)}, k]"
            f" float32, not {_described(labels)}"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(
            f"{name}: labels must be 0 to {classes - 1}, not {labels.min()} to {labels.max()}"
        )


def _check_conditions(name: str, labels: Tensor, count: int, classes: int) -> None:
    """Refuse conditions that do not fit their images, or that come with classes.

    Raises:
        DataError: another number of them, or no number in each, NaN or infinity, or classes.

    """
    if len(labels) != count or not labels.shape[1]:
        raise DataError(
            f"{name}: conditions must be [{count}, k] float32, not {_described(labels)}"
        )
    # As in an image, one NaN would spoil a whole training.
    if not labels.isfinite().all():
        raise DataError(f"{name}: conditions hold NaN or infinite values")
    if classes != 1:
        raise DataError(f"{name}: conditions in place of classes take num_classes=1, not {classes}")


def _described(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
