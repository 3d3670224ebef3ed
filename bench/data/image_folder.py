"""A folder of the user's own images; its sub-folders are the classes.

``--data-dir`` names the folder. Where it holds ``train/`` and ``test/`` (or ``val/``, in any case),
they are the two splits and nothing else is read; otherwise every 10th image of a class, sorted by
path, is held out. Within a split the first-level sub-folders, sorted by name, are the classes 0, 1,
...; without sub-folders there is one class. The rules are those of ``layout``; labels in a
``dataset.json`` are read as by ``image-zip``. Hidden files and files without an image's suffix are
skipped and counted. Images are decoded to RGB, or to one channel if all are greyscale; transparency
is laid over black. With ``--resolution N`` the centred square of each is averaged down to N x N.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.data._image_tree import Tree, load_tree
from bench.data._remarks import CIRCLE, OTHER, Remarks, printable
from bench.data.contract import DataError, Dataset

SHAPE = None  # that of the user's images
CLASSES = None


def load(data_dir: Path | None = None, resolution: int | None = None) -> Dataset:
    """The images in and below ``data_dir`` as uint8 ``[n, c, h, w]``, h = w.

    Args:
        data_dir: the folder of the images.
        resolution: side to bring every image to, in pixels; None leaves them as stored, and demands
            equal squares.

    Raises:
        DataError: the folder is missing, or is refused by ``load_tree``.

    """
    root = _check_root(data_dir)
    remarks = Remarks()
    try:
        is_folder = {}
        for path, folder in _walk(root, frozenset(), remarks):
            is_folder[path.relative_to(root).as_posix()] = folder
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read ({error.strerror}): check its permissions"
        ) from error
    files = [name for name in is_folder if not is_folder[name]]
    folders = [name for name in is_folder if is_folder[name]]
    tree = Tree(root, files, folders, lambda name: _read(root / name), remarks)
    return load_tree(tree, "image-folder", resolution)


def _check_root(data_dir: Path | None) -> Path:
    if data_dir is None:
        raise DataError("--data image-folder needs --data-dir FOLDER, the folder of the images")
    root = Path(data_dir)
    if root.is_file():
        raise DataError(
            f"{root} is a file, not a folder of images: for a zip pass --data image-zip, unpack any"
            " other archive"
        )
    if not root.is_dir():
        raise DataError(f"there is no folder {root}: pass the folder of the images as --data-dir")
    return root


def _read(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        DataError: they cannot be read.

    """
    try:
        return path.read_bytes()
    except OSError as error:
        way_out = "remove the link" if path.is_symlink() else "check its permissions"
        raise DataError(
            f"{printable(str(path))} cannot be read ({error.strerror}): {way_out}"
        ) from error


def _walk(folder: Path, above: frozenset[Path], remarks: Remarks) -> Iterator[tuple[Path, bool]]:
    """Files and folders in and below ``folder``, each with True for a folder.

    Hidden folders are not entered. A link to a folder is followed unless it leads back to one
    ``above``.
    """
    # By resolved paths: a circle of links has no end of new names.
    above |= {folder.resolve()}
    for entry in folder.iterdir():
        if entry.name.startswith(".") or not entry.is_dir():
            if entry.exists() and not entry.is_file() and not entry.is_dir():
                # A pipe or a device would be read without end.
                remarks.add(OTHER, entry.name)
            else:
                # Also a link to nowhere: called an image, it is refused when it is read
                yield entry, False
        elif entry.resolve() in above:
            remarks.add(CIRCLE, entry.name)
        else:
            yield entry, True
            yield from _walk(entry, above, remarks)
