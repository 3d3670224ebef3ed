"""Files of arrays: which there are, and what is read from them; nothing in them is executed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.data._stored import StoredImages
from bench.data.contract import DataError

SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth")
MAPPED_BYTES = 2**28  # a larger .npy file is not loaded as a whole
IMAGES = "images"
LABELS = "labels"
TEST_IMAGES = "test_images"
TEST_LABELS = "test_labels"
# Names of the arrays in an archive, and of the files in a folder; x_train and the like are Keras'.
NAMES = {
    IMAGES: ("images", "train_images", "x_train", "train"),
    LABELS: ("labels", "train_labels", "y_train"),
    TEST_IMAGES: ("test_images", "x_test", "test"),
    TEST_LABELS: ("test_labels", "y_test"),
}
Content = dict[str, "Found"]


@dataclass(frozen=True)
class Found:
    """An array, and where it is from, in words for messages and notes."""

    array: Tensor | StoredImages
    origin: str


def read(path: Path, mapped_bytes: int = MAPPED_BYTES) -> Content:
    """The arrays of a file or a folder, by their role: ``IMAGES``, ``LABELS`` and so on.

    Args:
        path: the file, or the folder of files.
        mapped_bytes: size above which a ``.npy`` file of images is read a pool at a time.

    Raises:
        DataError: there is none, it cannot be read, or it holds no images.

    """
    if path.is_dir():
        return _folder(path, mapped_bytes)
    if not path.is_file():
        raise DataError(
            f"there is no file {path}: pass a file of arrays ({', '.join(SUFFIXES)}), or a folder"
            " that holds train and test, as --data-dir"
        )
    content = _file(path, mapped_bytes)
    labels = path.with_name(f"{path.stem}_labels{path.suffix}")
    if LABELS not in content and labels.is_file():
        content[LABELS] = _single(labels, mapped_bytes)
    return content


def _folder(folder: Path, mapped_bytes: int) -> Content:
    """The files of a folder that are called by a role; a ``train`` file may be an archive."""
    content: Content = {}
    for role, names in NAMES.items():
        there: list[Path] = []
        for name in names:
            files = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
            there += [file for file in files if file.is_file()]
        if len(there) > 1:
            raise DataError(
                f"{folder} holds {there[0].name} and {there[1].name}: keep one of them there"
            )
        if not there:
            continue
        if role in (LABELS, TEST_LABELS):
            content[role] = _single(there[0], mapped_bytes)
            continue
        # An archive of one split calls its arrays images and labels.
        part = _file(there[0], mapped_bytes)
        content[role] = part[IMAGES]
        if LABELS in part:
            content[LABELS if role == IMAGES else TEST_LABELS] = part[LABELS]
    if IMAGES not in content:
        raise DataError(
            f"{folder} holds no train.npy ({', '.join(SUFFIXES[1:])}): name the two files train and"
            " test, or pass one file as --data-dir"
        )
    return content


def _single(path: Path, mapped_bytes: int) -> Found:
    """The only array of a file."""
    return _file(path, mapped_bytes)[IMAGES]


def _file(path: Path, mapped_bytes: int) -> Content:
    readers: dict[str, Callable[[Path], dict[str, Tensor]]] = {
        ".npz": _npz,
        ".safetensors": _safetensors,
        ".pt": _pt,
        ".pth": _pt,
    }
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return {IMAGES: Found(_npy(path, mapped_bytes), path.name)}
        if suffix not in readers:
            raise DataError(
                f"{path} is none of {', '.join(SUFFIXES)}: save the array as .npy, numpy.save(...)"
            )
        arrays = readers[suffix](path)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file fails in many ways
        reason = " ".join(str(error).split())[:120]
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {reason}): write it again"
        ) from error
    return _roles(path, arrays)


def _roles(path: Path, arrays: dict[str, Tensor]) -> Content:
    """The arrays of an archive by role; a single one are the images, whatever its name."""
    content: Content = {}
    for role, names in NAMES.items():
        for name in names:
            if name in arrays:
                content[role] = Found(arrays[name], f"{name} of {path.name}")
                break
    if IMAGES not in content and len(arrays) == 1:
        ((name, array),) = arrays.items()
        content = {IMAGES: Found(array, f"{name} of {path.name}".removeprefix(" of "))}
    if IMAGES not in content:
        raise DataError(
            f"{path} holds {', '.join(sorted(arrays)[:6]) or 'nothing'}, and no images: name the"
            f" arrays {', '.join(NAMES)} (the last three are optional)"
        )
    return content


def _npy(path: Path, mapped_bytes: int) -> Tensor | StoredImages:
    """The array of a file; of a large one its place, so that a pool at a time is read."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            header = np.lib.format.read_array_header_2_0
        shape, by_column, dtype = header(file)
        offset = file.tell()
    _refuse_objects(path, dtype)
    size = path.stat().st_size - offset
    # Rows of a Fortran array are scattered over the file.
    mapped = size > mapped_bytes and not by_column and len(shape) in (2, 4)
    if not mapped or not (dtype == np.uint8 or dtype.kind == "f"):
        return _tensor(path, np.load(path, allow_pickle=False))
    count, *image = shape
    channels, height, width = image if len(image) == 3 else (image[0], 1, 1)
    return StoredImages(path, offset, dtype.str, count, (channels, height, width))


def _npz(path: Path) -> dict[str, Tensor]:
    arrays = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            try:
                arrays[name] = _tensor(path, archive[name])
            except ValueError as error:
                if "allow_pickle" not in str(error):
                    raise
                _refuse_objects(path, np.dtype(object))
    return arrays


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def _pt(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of ``torch.save``: one, or a dictionary of them."""
    import pickle

    try:
        # Of weights only: any other pickle could run code.
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DataError(
            f"{path} is damaged, or holds more than tensors, which could run code: save the tensors"
            " alone, torch.save({'images': images, 'labels': labels}, ...)"
        ) from None
    if isinstance(content, Tensor):
        return {"": content}
    if isinstance(content, dict):
        return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    raise DataError(
        f"{path} holds a {type(content).__name__}: save a tensor, or a dictionary with images and"
        " labels"
    )


def _tensor(path: Path, array: np.ndarray) -> Tensor:
    """The array as a tensor, in the byte order of this machine."""
    _refuse_objects(path, array.dtype)
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{path} holds values of type {array.dtype}: save uint8 or floats for images, integers"
            " for labels"
        )
    # float128 and uint32 have no tensor in every version.
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if native.dtype.kind == "f" and native.dtype.itemsize > 8:
        native = native.astype(np.float64)
    if native.dtype.kind == "u" and native.dtype.itemsize > 1:
        native = native.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(native))


def _refuse_objects(path: Path, dtype: np.dtype) -> None:
    if dtype.hasobject:
        raise DataError(
            f"{path} holds Python objects, and reading them could run code: save numbers,"
            " numpy.save(file, numpy.stack(list(images)))"
        )
