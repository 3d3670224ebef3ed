"""Data sets of other libraries, from a local copy: shared by ``hf`` and ``torchvision``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.data._image_files import HELD_OUT, ImageFile, decode, hold_out, refuse_few
from bench.data._remarks import Remarks
from bench.data.contract import DataError, Dataset, Origin
from couplings.extras import install


def of_files(
    name: str,
    train: Sequence[ImageFile],
    test: Sequence[ImageFile] | None,
    resolution: int | None,
    origin: Origin,
) -> Dataset:
    """The data set of encoded images: uint8 ``[n, c, h, w]``, h = w.

    Without a test split every 10th image of a class is held out, as in a folder of images.

    Args:
        name: of the data set.
        train: images to train on.
        test: held-out images, or None.
        resolution: side to bring every image to, in pixels; None leaves them as stored.
        origin: source of the labels; ``classes`` has the name of each label 0, 1, ..., if any.

    Raises:
        DataError: there are too few images, they differ in size or cannot be read, or a class has
            no training image.

    """
    remarks = Remarks()
    notes = list(origin.notes)
    if test is None:
        train, test = hold_out(train)
        notes.append(f"every {HELD_OUT}th image of a class is held out")
    # Before the decoding, which may take minutes.
    refuse_few(train, test)
    first, second, classes = decode(train, test, resolution, f"decode {name}", remarks)
    names = origin.classes
    if names:
        # Labels without a training image are no class, so their names are left out.
        labels = sorted({int(file.label) for file in train})
        names = tuple(names[label] for label in labels if label < len(names))
    whole = replace(origin, classes=names, notes=(*notes, *remarks.phrases()))
    return Dataset(name, first, second, classes, origin=whole)


def checked_label(label: object, where: str) -> int | str:
    """A label that is a class.

    Raises:
        DataError: it is none, such as a list of boxes.

    """
    # NumPy's whole numbers have the method too; True would be a class called 1.
    if isinstance(label, str):
        return label
    if hasattr(label, "__index__") and not isinstance(label, bool):
        return int(label)
    raise DataError(
        f"{where} has labels such as {str(label)[:40]!r}: classes are whole numbers or words; pass"
        " label=COLUMN, or label=none to do without"
    )


def missing_library(name: str, error: Exception) -> DataError:
    """The error for a library that cannot be imported."""
    if isinstance(error, ImportError):
        return DataError(
            f"--data {name} needs a library that is missing ({error}): {install('data')}"
        )
    # torchvision was built for another torch, and an operator is missing.
    line = str(error).strip().partition("\n")[0]
    return DataError(
        f"--data {name}: the library cannot be imported ({line}); install its build (CPU or CUDA)"
        " for this torch, from where that torch came from"
    )
