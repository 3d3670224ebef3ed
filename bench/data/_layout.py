"""Rules by which names of folders give the split and the class of an image, in folder and zip.

Names are paths with slashes, relative to the folder or zip that the user names.

1. A folder that holds all images and has sub-folders is a wrapper, as unpacking makes it: the
   rules apply inside.
2. ``train/`` and ``test/`` (``val/`` where there is no ``test/``), in the spellings below and in
   any case, are the splits. Images outside them are not read. Without them, every 10th image of a
   class is held out.
3. First-level folders, of the whole or of each split, are the classes. Deeper folders belong to
   them.
4. Where these rules leave two readings, the images are refused.

A label file replaces rule 1 by its own place and rule 3 by its labels.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data._remarks import UNUSED, Remarks, printable
from bench.data.contract import DataError

TRAIN = ("train", "training")
TEST = ("test", "testing")
VALIDATION = ("val", "valid", "validation", "eval", "evaluation", "dev")
# Beginnings of folders of a held-out split that have longer names.
TEST_WORDS = (*TEST, *VALIDATION)
_SPLITS = (*TRAIN, *TEST, *VALIDATION)


@dataclass(frozen=True)
class Layout:
    """Split and class of each image.

    Attributes:
        train: the class of every training image, by its name; "" if no folder names one.
        test: the same of the held-out images, or None if they are to be chosen from ``train``.
        notes: phrases on this reading, for the user.

    """

    train: dict[str, str]
    test: dict[str, str] | None
    notes: tuple[str, ...] = ()


def arrange(names: Sequence[str], where: Path, labelled: str | None, remarks: Remarks) -> Layout:
    """Find splits and classes by the names of images.

    Args:
        names: of the images, sorted.
        where: the folder or zip, for messages.
        labelled: the folder of a label file ("" or ending in a slash), which gives the classes;
            None if there is none.
        remarks: counts the images that are not read.

    Raises:
        DataError: there are two readings, or none; the message names the way out.

    """
    # A label file is at the top of the images, wherever that is.
    notes: tuple[str, ...] = ()
    if labelled is None:
        inside = _wrapper(names, stop=_SPLITS)
        if inside:
            notes = (f"read inside {printable(inside)}",)
    else:
        inside = labelled
    folders = _folders(names, inside)
    place = _path(where, inside)
    splits = _splits(folders, place)
    if splits is not None:
        bases = [f"{inside}{split}/" for split in splits]
        return _split_layout(names, bases, where, labelled is not None, remarks)
    # Classes come from the label file, so folders may have any names.
    if labelled is not None:
        return Layout(dict.fromkeys(names, ""), None)
    # Each of these could be splits as well as classes: a guess might train on held-out images.
    _refuse_one_split(folders, place)
    _refuse_split_domains(folders, place)
    classes = _classes(names, inside, where)
    _refuse_splits_in_classes(classes, inside, where)
    return Layout(classes, None, (*notes, *_class_notes(classes, inside)))


def _split_layout(
    names: Sequence[str], bases: Sequence[str], where: Path, labelled: bool, remarks: Remarks
) -> Layout:
    """The layout of a training and a held-out split, which are the folders ``bases``."""
    train_names = _below(bases[0], names)
    test_names = _below(bases[1], names)
    # Images outside both are not read: they may be anything.
    for name in sorted({*names} - {*train_names, *test_names}):
        remarks.add(UNUSED, name)
    notes: tuple[str, ...] = ()
    if labelled:
        train = dict.fromkeys(train_names, "")
        test = dict.fromkeys(test_names, "")
    else:
        bases = _unwrapped((train_names, test_names), bases)
        train = _classes(train_names, bases[0], where)
        test = _classes(test_names, bases[1], where)
        _refuse_unequal_classes(train, test, bases, where)
        notes = _class_notes(train, bases[0])
    source = (
        f"training images from {printable(bases[0])}, held-out images from {printable(bases[1])}"
    )
    return Layout(train, test, (source, *notes))


def _below(base: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if name.startswith(base)]


def _splits(folders: Sequence[str], place: str) -> tuple[str, str] | None:
    """The folders of the training and the held-out split, or None unless there are both.

    Raises:
        DataError: several could be meant.

    """
    train = _named(folders, TRAIN)
    # With a test split, one for validation is left to those who tune by it.
    held_out = _named(folders, TEST) or _named(folders, VALIDATION)
    if not train or not held_out:
        return None
    for same in (train, held_out):
        if len(same) > 1:
            raise DataError(
                f"{place} has {_listed(same)}, which name the same split: rename all but one"
            )
    return train[0], held_out[0]


def _named(folders: Sequence[str], words: Collection[str]) -> list[str]:
    """The folders of these names, in any case."""
    return [folder for folder in folders if folder.casefold() in words]


def _unwrapped(parts: Sequence[Sequence[str]], bases: Sequence[str]) -> list[str]:
    """The folders of both splits, as many levels further inside as both of them are wrapped
    (``train/images/a``).
    """
    inner = [_wrapper(part, base=base) for part, base in zip(parts, bases, strict=True)]
    pairs = list(zip(inner, bases, strict=True))
    # No deeper than both: a class that only one split has must not pass for a wrapper.
    levels = min(inside.count("/") - base.count("/") for inside, base in pairs)
    unwrapped = []
    for inside, base in pairs:
        steps = inside.split("/")[: base.count("/") + levels]
        unwrapped.append("/".join(steps) + "/")
    return unwrapped


def _wrapper(names: Sequence[str], stop: Collection[str] = (), base: str = "") -> str:
    """The innermost folder below ``base`` that holds all images, has sub-folders, and is not called
    as in ``stop``.
    """
    first, *others = _folders(names, base)
    if others or not first or first.casefold() in stop:
        return base
    inner = f"{base}{first}/"
    # A single folder without sub-folders is a class, the only one.
    if _folders(names, inner) == [""]:
        return base
    return _wrapper(names, stop, inner)


def _folders(names: Sequence[str], base: str) -> list[str]:
    """First-level folders of images below ``base``, sorted; "" stands for images in ``base``
    itself.
    """
    return sorted({_first(name, base) for name in names if name.startswith(base)})


def _first(name: str, base: str) -> str:
    """The first-level folder of an image below ``base``, or "" for an image in ``base`` itself."""
    folder, slash, _ = name.removeprefix(base).partition("/")
    return folder if slash else ""


def _classes(names: Sequence[str], base: str, where: Path) -> dict[str, str]:
    """The class of each image below ``base``: its first-level folder, or "" where there are none.

    Raises:
        DataError: some images are in folders and others are not.

    """
    classes = {name: _first(name, base) for name in names}
    # A stray image among class folders has no class that could be guessed.
    loose = [name for name, label in classes.items() if not label]
    if loose and len(loose) < len(names):
        raise DataError(
            f"{_path(where, loose[0])} is outside the sub-folders that name the classes"
            f" ({len(loose)} such of {len(names)} images): move it into one of them"
        )
    return classes


def _class_notes(classes: dict[str, str], base: str) -> tuple[str, ...]:
    """Phrases on surprises among classes that are named by folders."""
    labels = sorted(set(classes.values()) - {""})
    # Two spellings are two classes here, but rarely so meant.
    spellings = Counter(map(_spelling, labels))
    alike = [label for label in labels if spellings[_spelling(label)] > 1]
    splits = [label for label in labels if label.casefold() in _SPLITS]
    deeper = [name for name, label in classes.items() if _first(name, f"{base}{label}/")]
    notes = []
    if alike:
        notes.append(f"classes that differ only in case: {_listed(alike)}")
    if splits:
        notes.append(f"read as a class, not as a split: {_listed(splits)}")
    if deeper and labels:
        folder, _, _ = deeper[0].rpartition("/")
        notes.append(f"folders within a class are not classes ({printable(folder)})")
    return tuple(notes)


def _refuse_one_split(folders: Sequence[str], place: str) -> None:
    """Refuse a place where all folders are called as splits and no two of them are a pair."""
    if all(folder.casefold() in _SPLITS for folder in folders):
        raise DataError(
            f"{place} holds one split of two ({_listed(folders)}): name them train/ and test/, "
            "or pass only what is in one of them as --data-dir"
        )


def _refuse_split_domains(folders: Sequence[str], place: str) -> None:
    """Refuse folders such as trainA, trainB, testA, testB: as classes, test images would be trained
    on.
    """
    # As in data sets of two domains (trainA, trainB, testA, testB).
    spelled = [folder.casefold() for folder in folders]
    trains = any(folder.startswith("train") for folder in spelled)
    tests = any(folder.startswith(TEST_WORDS) for folder in spelled)
    if trains and tests:
        raise DataError(
            f"{place} has {_listed(folders)}, which may be splits or classes: put the classes into"
            " train/ and test/ (train/A, test/A), or rename the folders"
        )


def _refuse_splits_in_classes(classes: dict[str, str], base: str, where: Path) -> None:
    """Refuse classes that are split each, as held-out images would be trained on."""
    # The folders inside each class
    inner: dict[str, set[str]] = {}
    for name, label in classes.items():
        inner.setdefault(label, set()).add(_first(name, f"{base}{label}/").casefold())
    for label, folders in inner.items():
        if label and folders.intersection(TRAIN) and folders.intersection((*TEST, *VALIDATION)):
            raise DataError(
                f"{_path(where, base + label)} is a class with a training and a held-out split"
                f" inside: put the splits above the classes (train/{printable(label)}/,"
                f" test/{printable(label)}/)"
            )


def _refuse_unequal_classes(
    train: dict[str, str], test: dict[str, str], bases: Sequence[str], where: Path
) -> None:
    """Refuse splits of which one has class folders and the other has none, or that spell a class
    differently.
    """
    known = set(train.values())
    held_out = set(test.values())
    if ("" in known) != ("" in held_out):
        bare, sorted_ = bases if "" in known else bases[::-1]
        raise DataError(
            f"{_path(where, bare)} has no class folders, {_path(where, sorted_)} has: sort its"
            f" images into the same folders, or pass only what is in {printable(bases[0])} as"
            " --data-dir"
        )
    # A class of the held-out split that training lacks is refused when it is decoded; here, one
    # that it has in another spelling.
    spellings = {_spelling(label): label for label in known}
    for label in sorted(held_out - known):
        if _spelling(label) in spellings:
            raise DataError(
                f"class {label!r} in {_path(where, bases[1])} is spelled"
                f" {spellings[_spelling(label)]!r} in {_path(where, bases[0])}: rename one of them"
            )


def _spelling(label: str) -> str:
    """The common form of a name's spellings: letters in any case, composed and decomposed."""
    return unicodedata.normalize("NFC", label).casefold()


def _path(where: Path, name: str) -> str:
    return printable(str(where / name))


def _listed(folders: Sequence[str]) -> str:
    return ", ".join(f"{printable(folder)}/" for folder in folders)
