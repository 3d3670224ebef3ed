"""A tree of the user's own images in a folder or a zip; the same tree gives the same data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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

# Folder with which a Mac stores attributes of the files in a zip
_MAC = "__MACOSX"
_TENTH = f"every {HELD_OUT}th image of a class is held out"


@dataclass(frozen=True)
class Tree:
    """Files below a folder or in a zip, by their paths with slashes.

    Attributes:
        where: the folder or zip.
        files: all files; of a hidden folder the folder itself is enough.
        folders: all folders, as far as they are known.
        read: returns the bytes of a file.
        remarks: findings so far.

    """

    where: Path
    files: Sequence[str]
    folders: Sequence[str]
    read: Callable[[str], bytes]
    remarks: Remarks = field(default_factory=Remarks)


def load_tree(tree: Tree, name: str, resolution: int | None) -> Dataset:
    """The images of a tree as the data set ``name``: uint8 ``[n, c, h, w]``, h = w.

    Raises:
        DataError: there are no images, or too few; their layout or labels are damaged or unclear;
            or an image cannot be read, or is not of the size of the others.

    """
    files = _visible(tree)
    # By suffix: opening every file of a large folder would take minutes.
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
    # A label file gives the classes, so folders name the splits only.
    base = None if labelled is None else label_file.folder(labelled)
    layout = arrange(names, tree.where, base, tree.remarks)
    labels = _labels(tree, layout, labelled)
    train, test = _parts(tree, layout, labels)
    first, second, num_classes = decode(
        train, test, resolution, f"decode {tree.where.name}", tree.remarks
    )
    return Dataset(name, first, second, num_classes, origin=_origin(tree, layout, labels, labelled))


def _visible(tree: Tree) -> list[str]:
    """All files that are not hidden, sorted; counts hidden files and empty folders."""
    hidden = {file: _hidden_part(file) for file in tree.files}
    # A hidden folder counts once, however many files it has.
    for part in sorted({*hidden.values(), *map(_hidden_part, tree.folders)} - {""}):
        tree.remarks.add(HIDDEN, part)
    files = sorted(file for file, part in hidden.items() if not part)
    # An empty folder looks like a class whose images were lost.
    for folder in _empty(tree.folders, tree.files):
        tree.remarks.add(EMPTY, folder)
    return files


def _hidden_part(name: str) -> str:
    """The path down to its first hidden step, or "" if none is hidden."""
    steps = name.split("/")
    for depth, step in enumerate(steps, 1):
        if step.startswith(".") or step == _MAC:
            return "/".join(steps[:depth])
    return ""


def _empty(folders: Iterable[str], files: Iterable[str]) -> list[str]:
    """Folders without any file below them, hidden or not, sorted; without those inside an empty
    folder.
    """
    full: set[str] = set()
    for file in files:
        full.update(_parents(file))
    empty: set[str] = set()
    # Sorted, a folder comes before those inside it.
    for folder in sorted(folders):
        if folder in full or _hidden_part(folder):
            continue
        if empty.isdisjoint(_parents(folder)):
            empty.add(folder)
    return sorted(empty)


def _parents(name: str) -> list[str]:
    """The folders above a file or folder: ``a`` and ``a/b`` of ``a/b/c``."""
    return [name[:place] for place, letter in enumerate(name) if letter == "/"]


def _labels(tree: Tree, layout: Layout, labelled: str | None) -> Mapping[str, str | int]:
    """The class of each image that is read."""
    folders = {**layout.train, **(layout.test or {})}
    if labelled is None:
        return folders
    labels = label_file.parse(_content(tree, labelled), labelled, tree.where)
    # "No labels": one class, which folders do not name either when there is a label file.
    if labels is None:
        return folders
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
    tree: Tree, layout: Layout, labels: Mapping[str, str | int]
) -> tuple[list[ImageFile], list[ImageFile]]:
    """Training and held-out images, in the order of their names."""

    def encoded(names: Iterable[str]) -> list[ImageFile]:
        files = []
        for name in names:
            shown = printable(str(tree.where / name))
            files.append(ImageFile(shown, labels[name], partial(tree.read, name)))
        return files

    train = encoded(layout.train)
    test = encoded(layout.test or {})
    # Before any is decoded, which takes minutes for large sets.
    refuse_unread([*train, *test])
    if layout.test is None:
        train, test = hold_out(train)
    refuse_few(train, test)
    return train, test


def _origin(
    tree: Tree, layout: Layout, labels: Mapping[str, str | int], labelled: str | None
) -> Origin:
    """Notes on how the tree was read."""
    classes = tuple(map(str, sorted({labels[name] for name in layout.train})))
    held_out = () if layout.test is not None else (_TENTH,)
    notes = (*layout.notes, *held_out, *tree.remarks.phrases())
    source = printable(labelled) if labelled else None
    if classes == ("",):
        reason = f"{source} says so" if source else "no sub-folders, no dataset.json"
        return Origin(f"none, {reason}", (), notes)
    return Origin(source or "folders", classes, notes)
