"""Data sets of images of torchvision, from a local copy: ``--data torchvision:name=MNIST``.

``--data-dir`` is the folder that torchvision calls ``root``. Nothing is downloaded. Pixels are held
in memory, as those of ``image-folder``.
"""

from __future__ import annotations

import inspect
import io
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from bench.data._image_files import ImageFile
from bench.data._library import checked_label, missing_library, of_files
from bench.data._source import DEFAULT_DATA_DIR
from bench.data.contract import DataError, Dataset, Origin
from couplings.errors import unknown

SHAPE = None  # that of the images of the data set
CLASSES = None

TARGETS = ("targets", "labels", "_labels")  # attributes that hold all labels of a data set
NONE = "none"  # in place of labels: do without


def load(
    data_dir: Path | None = None,
    resolution: int | None = None,
    *,
    name: str | None = None,
    label: str = "auto",
    train: str = "train",
    test: str = "test",
) -> Dataset:
    """The images as uint8 ``[n, c, h, w]``, h = w.

    Args:
        data_dir: torchvision's ``root``; None is ``data``.
        resolution: side to bring every image to, in pixels; None leaves them as stored.
        name: the class in torchvision.datasets.
        label: none leaves the labels out.
        train: the split to train on, of classes with the argument ``split``.
        test: the held-out split of these. Of a class with one split only, every 10th image of a
            class is held out.

    Raises:
        DataError: torchvision or the files are missing, there is no such data set, or its images
            are refused as those of ``image-folder`` are.

    """
    module = _library()
    if name is None:
        raise DataError("--data torchvision: which data set? torchvision:name=MNIST, for example")
    known = tuple(sorted(module.__all__))
    if name not in known:
        raise DataError(str(unknown("data set of torchvision", name, known)))
    root = Path(data_dir or DEFAULT_DATA_DIR)
    if label not in ("auto", NONE):
        raise DataError(f"--data torchvision: label={label}: auto or none")
    maker = getattr(module, name)
    arguments = _arguments(maker, train, test)
    parts = []
    for chosen in arguments:
        made = _made(maker, root, chosen, arguments)
        parts.append((made, _files(made, f"{name} {'-'.join(map(str, chosen.values()))}", label)))
    classes = getattr(parts[0][0], "classes", None) or ()
    plain = label != NONE and all(isinstance(word, str) for word in classes)
    origin = Origin("none" if label == NONE else "", tuple(classes) if plain else ())
    files = [of_part for _, of_part in parts]
    return of_files("torchvision", files[0], files[1] if files[1:] else None, resolution, origin)


def _library() -> ModuleType:
    # A torchvision of another build raises a RuntimeError, and takes seconds to import.
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:
        raise missing_library("torchvision", error) from None
    return datasets


def _arguments(maker: Any, train: str, test: str) -> list[dict[str, object]]:
    """Arguments that make the training and the held-out split; one entry if there is one split."""
    parameters = inspect.signature(maker).parameters
    if "train" in parameters:
        return [{"train": True}, {"train": False}]
    if "split" in parameters:
        return [{"split": train}, {"split": test}]
    return [{}]


def _made(maker: Any, root: Path, chosen: dict, arguments: list[dict]) -> Any:
    """The data set of a split."""
    # Without download=True the classes raise where files are missing, each its own error.
    try:
        return maker(str(root), **chosen)
    except Exception as error:  # noqa: BLE001 - each class has its own errors
        reason = " ".join(str(error).split())[:160]
        calls = []
        for values in arguments:
            words = "".join(f", {key}={value!r}" for key, value in values.items())
            calls.append(f"d.{maker.__name__}('{root}'{words}, download=True)")
        way_out = f'python -c "import torchvision.datasets as d; {"; ".join(calls)}"'
        if "download" not in inspect.signature(maker).parameters:
            way_out = "torchvision cannot fetch this one, its documentation says how to get it"
        raise DataError(
            f"--data torchvision: no local copy of {maker.__name__} in {root} ({reason}); {way_out}"
        ) from None


def _files(made: Any, title: str, label: str) -> list[ImageFile]:
    """The items of a data set, whose images are read one by one."""
    labels: Any = [0] * len(made)
    if label != NONE:
        # Without such a list every image is decoded once for its label alone.
        found = (getattr(made, attribute, None) for attribute in TARGETS)
        labels = next((values for values in found if values is not None), None)
        if labels is None:
            labels = [made[row][1] for row in range(len(made))]
        labels = labels.tolist() if hasattr(labels, "tolist") else labels
    files = []
    for row, number in enumerate(labels):
        where = f"{title} [{row}]"
        files.append(ImageFile(where, checked_label(number, where), partial(_bytes, made, row)))
    return files


def _bytes(made: Any, row: int) -> bytes:
    """An image as PNG: all data sets of images are decoded by the same code."""
    from PIL import Image

    picture = made[row][0]
    if not isinstance(picture, Image.Image):
        raise DataError(
            f"--data torchvision: item {row} is a {type(picture).__name__}, not an image; save what"
            " you need as .npy, and take --data arrays"
        )
    buffer = io.BytesIO()
    # Without compression: it is read at once.
    picture.save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()
