"""A zip of the user's own images with labels in ``dataset.json``, as the data set tool of EDM writes it.

Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022. The zip holds images such as
``00000/img00000000.png`` and at its top ``dataset.json`` with ``{"labels": [["00000/img00000000.png", 6], ...]}``, or
with ``null`` for no labels (one class). It may be compressed. ``--data-dir`` names the zip itself. The classes, sorted,
become 0, 1, ...; every 10th image of a class, sorted by name, is held out. Images are decoded as by ``image-folder``.
"""

from __future__ import annotations

import json
import zipfile
from functools import partial
from pathlib import Path

from bench.data.contract import DataError, Dataset
from bench.data.image_files import SUFFIXES, ImageFile, decode, hold_out, is_image

_LABELS = "dataset.json"


def load(data_dir: Path | None = None, resolution: int | None = None) -> Dataset:
    """The images of the zip ``data_dir`` as uint8 ``[n, c, h, w]``, h = w.

    Args:
        data_dir: the zip.
        resolution: side to bring every image to, in pixels; None leaves them as stored, and demands equal squares.

    Raises:
        DataError: the zip is missing, is none, or holds no images; labels are damaged or missing for some images; or an
            image cannot be read, or is not of the size of the others.

    """
    path = _check_path(data_dir)
    try:
        with zipfile.ZipFile(path) as archive:
            parts = hold_out(_files(path, archive))
            train, test, num_classes = decode(*parts, resolution, title=f"decode {path.name}")
    except zipfile.BadZipFile as error:
        raise DataError(f"{path} is not a zip, or a damaged one ({error}): make or fetch it again") from error
    return Dataset("image-zip", train, test, num_classes)


def _check_path(data_dir: Path | None) -> Path:
    if data_dir is None:
        raise DataError("--data image-zip needs --data-dir FILE.zip, the zip of the images")
    path = Path(data_dir)
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a zip: pass the zip itself, or for a folder --data image-folder")
    if not path.is_file():
        raise DataError(f"there is no file {path}: pass the zip of the images as --data-dir")
    return path


def _files(path: Path, archive: zipfile.ZipFile) -> list[ImageFile]:
    """The images of the zip, sorted by name, without hidden ones."""
    names = sorted({name for name in archive.namelist() if is_image(name) and not _hidden(name)})
    if not names:
        raise DataError(f"no images in {path}: it must hold files ending in {' '.join(SUFFIXES)}")
    labels = _labels(path, archive)
    if labels is None:
        labels = dict.fromkeys(names, 0)
    if unlabelled := [name for name in names if name not in labels]:
        raise DataError(
            f"{path}: {_LABELS} has no label for {len(unlabelled)} of {len(names)} images, such as {unlabelled[0]}: "
            "label all of them, or none with null"
        )
    return [ImageFile(f"{path}/{name}", labels[name], partial(archive.read, name)) for name in names]


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _labels(path: Path, archive: zipfile.ZipFile) -> dict[str, int] | None:
    """Class of each name, or None where the zip has no labels.

    Raises:
        DataError: ``dataset.json`` has another layout.

    """
    if _LABELS not in archive.namelist():
        return None
    way_out = f'{path}: {_LABELS} must read {{"labels": [["00000/img00000000.png", 6], ...]}} or {{"labels": null}}'
    try:
        pairs = json.loads(archive.read(_LABELS))["labels"]
        labels = None if pairs is None else dict(pairs)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(way_out) from error
    if not labels:
        return None
    if odd := next((name for name, label in labels.items() if type(label) is not int), None):
        raise DataError(f"{way_out}, with whole numbers: the label of {odd} is {str(labels[odd])[:40]}")
    return labels
