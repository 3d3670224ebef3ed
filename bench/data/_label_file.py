"""Labels in ``dataset.json``, as the data set tool of EDM writes it next to the images.

Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, 2022. It reads
``{"labels": [["00000/img00000000.png", 6], ...]}``, or has ``null`` for no labels; names are
relative to its folder.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from bench.data._remarks import LOST, Remarks, printable
from bench.data.contract import DataError

FILE = "dataset.json"


def is_label_file(name: str) -> bool:
    """True if a file is taken for one with labels, by its name in any case."""
    return posixpath.basename(name).casefold() == FILE


def find(files: Iterable[str], names: Sequence[str], where: Path) -> str | None:
    """The label file of the images ``names``, or None without any.

    It is in the folder that holds all images; that folder may be inside others, as when it was
    zipped from outside.

    Raises:
        DataError: several could be meant, or images are outside its folder.

    """
    candidates = sorted(filter(is_label_file, files), key=_depth_first)
    if not candidates:
        return None
    # A single one nearest to the top counts; deeper ones may belong to parts that were copied in.
    top = candidates[0]
    if len(candidates) > 1 and top.count("/") == candidates[1].count("/"):
        raise DataError(
            f"{where} has {_listed(candidates)}: keep one {FILE}, at the top, with the labels of"
            " all images"
        )
    base = folder(top)
    outside = [name for name in names if not name.startswith(base)]
    if outside:
        raise DataError(
            f"{where} has {_listed([top])}, which is not at the top, and {len(outside)} images"
            f" outside its folder ({printable(outside[0])}): put it at the top (zip from inside the"
            " folder), or remove it if folders name the classes"
        )
    return top


def _depth_first(name: str) -> tuple[int, str]:
    return name.count("/"), name


def folder(name: str) -> str:
    """The folder of a file: "" or ending in a slash."""
    return name[: name.rfind("/") + 1]


def parse(content: bytes, file: str, where: Path) -> dict[str, int] | None:
    """Class of each image, by its name as in ``normal_name``, or None if the file has ``null``.

    Args:
        content: of the file.
        file: its name; its folder is put before the names in it.
        where: the folder or zip, for messages.

    Raises:
        DataError: it has another layout, or two labels for one image.

    """
    shown = printable(str(where / file))
    way_out = (
        f'{shown} must read {{"labels": [["00000/img00000000.png", 6], ...]}} or {{"labels": null}}'
    )
    try:
        pairs = json.loads(content)["labels"]
        if pairs is None:
            pairs = []
        # Some tools write a mapping instead of pairs.
        if isinstance(pairs, dict):
            pairs = list(pairs.items())
        entries = []
        for name, label in pairs:
            entries.append((f"{folder(file)}{normal_name(name)}", label))
    # A deeply nested file fails by recursion.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(way_out) from error
    labels: dict[str, int] = {}
    # An image may be listed twice, as long as both labels agree.
    for name, label in entries:
        # By type: True is an int too.
        if type(label) is not int:
            raise DataError(
                f"{way_out}, with whole numbers: the label of {printable(name)} is"
                f" {json.dumps(label)[:40]}"
            )
        if labels.setdefault(name, label) != label:
            raise DataError(
                f"{shown} labels {printable(name)} both {labels[name]} and {label}: remove one of"
                " them"
            )
    # An empty list says the same as ``null``.
    return labels or None


def check(
    labels: dict[str, int],
    names: Sequence[str],
    files: Collection[str],
    file: str,
    where: Path,
    remarks: Remarks,
) -> None:
    """Refuse images ``names`` without a label; count labels of none of the ``files``.

    Raises:
        DataError: the label file ``file`` lacks some images.

    """
    missing = [name for name in names if name not in labels]
    if missing:
        raise DataError(
            f"{where}: {printable(file)} has no label for {len(missing)} of {len(names)} images,"
            f" such as {printable(missing[0])}: label all of them, or none with null"
        )
    # Labels without images are common: a subset keeps the file of the whole.
    for name in labels:
        if name not in files:
            remarks.add(LOST, name)


def normal_name(name: str) -> str:
    """A path with slashes and without empty or ``.`` steps; some zips have backslashes, or begin
    with ``./``.
    """
    steps = name.replace("\\", "/").split("/")
    return "/".join(step for step in steps if step not in ("", "."))


def _listed(names: Sequence[str]) -> str:
    return " and ".join(map(printable, names))
