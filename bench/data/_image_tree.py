"""A tree of the user's own images, in a folder or a zip: the same tree is the same data set in
both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.data import _label_file as label_file
from bench.data._image_files import (
    HELD_OUT,
    SUFFIXES,
    ImageFile,
    decode,
    hold_out,
    is_image,
    refuse_few,
    refuse_unread,
)
from bench.data._layout import Layout, arrange
from bench.data._remarks import EMPTY, HIDDEN, OTHER, Remarks, printable
from bench.data.contract import DataError, Dataset, Origin

_MAC = "__MACOSX"  # where a Mac puts what else it knows of the files in a zip
_TENTH = f"every {HELD_OUT}th image of a class is held out"


@dataclass(frozen=True)
class Tree:
    """Files below a folder or in a zip, by their paths with slashes.

    Attributes:
        where: the folder or zip.
        files: all files; for a hidden folder the folder itself will do.
        folders: all folders, as far as they are known.
        read: the bytes of a file.
        remarks: what was met so far.

    """

    where: Path
    files: Sequence[str]
    folders: Sequence[str]
    read: Callable[[str], bytes]
    remarks: Remarks = field(default_factory=Remarks)


def load_tree(tree: Tree, name: str, resolution: int | None) -> Dataset:
    """The images of a tree as the data set ``name``: uint8 ``[n, c, h, w]``, h = w.

    Raises: DataError: there are no images, or too few; their layout or labels are damaged or
        unclear; or an image cannot be
            read, or is not of the size of the others.

    """
    files = _visible(tree)
    names = [file for file in files if is_image(file)]
    if not names:
        other = files[0] if files else tree.remarks.examples.get(HIDDEN)
        found = f", only files such as {printable(other)}" if other else ""
        raise DataError(
            f"no images in {tree.where}{found}: it must hold files ending in {' '.join(SUFFIXES)}"
        )
    labelled = label_file.find(files, names, tree.where)
    for file in files:
        if not is_image(file) and file != labelled:
            tree.remarks.add(OTHER, file)
    layout = arrange(
        names, tree.where, None if labelled is None else label_file.folder(labelled), tree.remarks
    )
    labels = _labels(tree, layout, labelled)
    train, test = _parts(tree, layout, labels)
    first, second, num_classes = decode(
        train, test, resolution, f"decode {tree.where.name}", tree.remarks
    )
    return Dataset(name, first, second, num_classes, origin=_origin(tree, layout, labels, labelled))


def _visible(tree: Tree) -> list[str]:
    """All files that are not hidden, sorted; counts hidden files and empty folders."""
    hidden = {file: _hidden_part(file) for file in tree.files}
    for part in sorted({*hidden.values(), *map(_hidden_part, tree.folders)} - {""}):
        tree.remarks.add(HIDDEN, part)
    files = sorted(file for file, part in hidden.items() if not part)
    for folder in _empty(tree.folders, tree.files):
        tree.remarks.add(EMPTY, folder)
    return files


def _hidden_part(name: str) -> str:
    """The path down to its first hidden step, or "" where none is hidden."""
    steps = name.split("/")
    depth = next((n for n, step in enumerate(steps, 1) if step.startswith(".") or step == _MAC), 0)
    return "/".join(steps[:depth])


def _empty(folders: Iterable[str], files: Iterable[str]) -> list[str]:
    """Folders without any file below them, hidden or not, sorted; without those inside an empty
    folder.
    """
    full = {parent for file in files for parent in _parents(file)}
    empty: set[str] = set()
    for folder in sorted(folders):
        if folder not in full and not _hidden_part(folder) and empty.isdisjoint(_parents(folder)):
            empty.add(folder)
    return sorted(empty)


def _parents(name: str) -> list[str]:
    """The folders above a file or folder: ``a`` and ``a/b`` of ``a/b/c``."""
    return [name[:place] for place, letter in enumerate(name) if letter == "/"]


def _labels(tree: Tree, layout: Layout, labelled: str | None) -> dict[str, str | int]:
    """The class of each image that is read."""
    folders = {**layout.train, **(layout.test or {})}
    if labelled is None:
        return folders
    labels = label_file.parse(_content(tree, labelled), labelled, tree.where)
    if labels is None:
        return folders  # which is "" throughout
    label_file.check(labels, list(folders), set(tree.files), labelled, tree.where, tree.remarks)
    return labels


def _content(tree: Tree, file: str) -> bytes:
    """The bytes of the label file.

    Raises:
        DataError: they cannot be read.

    """
    try:
        return tree.read(file)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged zip fails in many ways
        name = printable(str(tree.where / file))
        raise DataError(
            f"{name} cannot be read ({type(error).__name__}): repair or remove it"
        ) from error


def _parts(
    tree: Tree, layout: Layout, labels: dict[str, str | int]
) -> tuple[list[ImageFile], list[ImageFile]]:
    """Training and held-out images, in the order of their names."""

    def encoded(names: Iterable[str]) -> list[ImageFile]:
        return [
            ImageFile(printable(str(tree.where / n)), labels[n], partial(tree.read, n))
            for n in names
        ]

    train, test = encoded(layout.train), encoded(layout.test or {})
    refuse_unread([*train, *test])
    if layout.test is None:
        train, test = hold_out(train)
    refuse_few(train, test)
    return train, test


def _origin(
    tree: Tree, layout: Layout, labels: dict[str, str | int], labelled: str | None
) -> Origin:
    """How the tree was read, in words."""
    classes = tuple(map(str, sorted({labels[name] for name in layout.train})))
    notes = (*layout.notes, *([_TENTH] if layout.test is None else []), *tree.remarks.phrases())
    if classes == ("",):
        explicit = (
            f"{printable(labelled)} says so" if labelled else "no sub-folders, no dataset.json"
        )
        return Origin(f"none, {explicit}", (), notes)
    return Origin(printable(labelled) if labelled else "folders", classes, notes)
