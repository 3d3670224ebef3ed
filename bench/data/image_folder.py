"""A folder of the user's own images; its sub-folders are the classes.

``--data-dir`` names the folder. Where both ``train/`` and ``test/`` lie in it, they are the two splits and nothing
beside them is read; otherwise every 10th image of a class, sorted by path, is held out. Within a split the first-level
sub-folders, sorted by name, are the classes 0, 1, ...; without sub-folders there is one class. Hidden files and files
without an image's suffix are passed over. Images are decoded to RGB, or to one channel if all are greyscale;
transparency is laid over black. With ``--resolution N`` the centred square of each is averaged down to N x N.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.data.contract import DataError, Dataset
from bench.data.image_files import SUFFIXES, ImageFile, decode, hold_out, is_image

_SPLITS = {"train", "test", "val", "valid", "validation"}


def load(data_dir: Path | None = None, resolution: int | None = None) -> Dataset:
    """The images in and below ``data_dir`` as uint8 ``[n, c, h, w]``, h = w.

    Args:
        data_dir: the folder of the images.
        resolution: side to bring every image to, in pixels; None leaves them as stored, and demands equal squares.

    Raises:
        DataError: the folder is missing, holds no images, or mixes them with classes; or an image cannot be read, or
            is not of the size of the others.

    """
    root = _check_root(data_dir)
    if (root / "train").is_dir() and (root / "test").is_dir():
        parts = _files(root / "train"), _files(root / "test")
    else:
        files = _files(root)
        if {file.label for file in files} <= _SPLITS:
            raise DataError(f"{root} holds one split of two: name them train/ and test/, or pass one as --data-dir")
        parts = hold_out(files)
    train, test, num_classes = decode(*parts, resolution, title=f"decode {root.name}")
    return Dataset("image-folder", train, test, num_classes)


def _check_root(data_dir: Path | None) -> Path:
    if data_dir is None:
        raise DataError("--data image-folder needs --data-dir FOLDER, the folder of the images")
    root = Path(data_dir)
    if root.is_file():
        raise DataError(f"{root} is a file, not a folder of images: for a zip pass --data image-zip")
    if not root.is_dir():
        raise DataError(f"there is no folder {root}: pass the folder of the images as --data-dir")
    if (root / "dataset.json").exists():
        raise DataError(
            f"{root} has its labels in dataset.json, not in sub-folders: zip what is in it (cd there, "
            "zip -0 -r ../images.zip .) and pass the zip with --data image-zip"
        )
    return root


def _files(root: Path) -> list[ImageFile]:
    """The images below ``root``, sorted by path; each is of the class of its first-level sub-folder, if any."""
    try:
        names = sorted(path.relative_to(root).as_posix() for path in _walk(root, frozenset()))
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}): check its permissions") from error
    if not names:
        raise DataError(f"no images in {root}: it must hold files ending in {' '.join(SUFFIXES)}")
    loose = [name for name in names if "/" not in name]
    if loose and len(loose) < len(names):
        raise DataError(
            f"{root / loose[0]} lies beside the sub-folders that name the classes: move it into one of them"
        )
    return [ImageFile(str(root / name), _class(name), (root / name).read_bytes) for name in names]


def _class(name: str) -> str:
    return name.split("/")[0] if "/" in name else ""


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Images in and below ``folder``; a link to a folder is followed unless it leads back to one ``above``."""
    above |= {folder.resolve()}
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if entry.resolve() not in above:
                yield from _walk(entry, above)
        elif is_image(entry.name):
            yield entry
