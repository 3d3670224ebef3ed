"""A zip of the user's own images with labels in ``dataset.json``, as the data set tool of EDM
writes it, or in folders.

Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022. The zip
holds images such as ``00000/img00000000.png`` and at its top ``dataset.json`` with ``{"labels":
[["00000/img00000000.png", 6], ...]}``, or with ``null`` for no labels (one class). It may be
compressed. ``--data-dir`` names the zip itself. The classes, sorted, become 0, 1, ...; every 10th
image of a class, sorted by name, is held out. In all else, and without a ``dataset.json``, a zip is
read as ``image-folder`` reads the folder it was made of.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from bench.data._image_tree import Tree, load_tree
from bench.data._label_file import normal_name
from bench.data._remarks import REPEATED, Remarks, printable
from bench.data.contract import DataError, Dataset

SHAPE = None  # that of the user's images
CLASSES = None


def load(data_dir: Path | None = None, resolution: int | None = None) -> Dataset:
    """The images of the zip ``data_dir`` as uint8 ``[n, c, h, w]``, h = w.

    Args:
        data_dir: the zip.
        resolution: side to bring every image to, in pixels; None leaves them as stored, and demands
            equal squares.

    Raises:
        DataError: the zip is missing, is none, or cannot be read; or is refused by ``load_tree``.

    """
    # Open until all images are read: entries are decompressed one by one.
    path = _check_path(data_dir)
    with _open(path) as archive:
        return load_tree(_tree(path, archive), "image-zip", resolution)


def _check_path(data_dir: Path | None) -> Path:
    if data_dir is None:
        raise DataError("--data image-zip needs --data-dir FILE.zip, the zip of the images")
    path = Path(data_dir)
    if path.is_dir():
        raise DataError(
            f"{path} is a folder, not a zip: pass the zip itself, or for a folder --data"
            " image-folder"
        )
    if not path.is_file():
        raise DataError(f"there is no file {path}: pass the zip of the images as --data-dir")
    return path


def _open(path: Path) -> zipfile.ZipFile:
    """The zip, opened.

    Raises:
        DataError: it cannot be read, is damaged, or is no zip.

    """
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}): check its permissions"
        ) from error
    except Exception as error:  # noqa: BLE001 - a damaged zip fails in many ways
        raise DataError(
            f"{path} is not a zip, or a damaged one ({error}): make or fetch it again; any other"
            " archive unpack, and pass the folder with --data image-folder"
        ) from error


def _tree(path: Path, archive: zipfile.ZipFile) -> Tree:
    """The tree in the zip; of entries of one name the last counts, as in unpacking."""
    remarks = Remarks()
    entries = {}
    for entry in archive.infolist():
        name = normal_name(entry.filename)
        if name in entries and not entry.is_dir():
            remarks.add(REPEATED, name)
        entries[name] = entry
    files = [name for name, entry in entries.items() if not _is_folder(entry)]
    folders = [name for name, entry in entries.items() if _is_folder(entry)]
    return Tree(path, files, folders, lambda name: _read(path, archive, entries[name]), remarks)


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    # Some Windows tools write backslashes, which `ZipInfo.is_dir` does not know.
    return entry.filename.endswith(("/", "\\"))


def _read(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of an entry.

    Raises:
        DataError: it is packed in a way that is not read here.

    """
    try:
        return archive.read(entry)
    except RuntimeError as error:  # NotImplementedError is one
        raise DataError(
            f"{path}: {printable(entry.filename)} was made with Deflate64, a password or another"
            " way that is not read here: zip the images again without it"
        ) from error
