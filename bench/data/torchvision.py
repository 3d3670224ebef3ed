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
SPLITS = ("train", "test")


def load(
    data_dir: Path | None = None,
    resolution: int | None = None,
    *,
    name: str | None = None,
    subset: str | None = None,
    label: str = "auto",
    train: str | None = None,
    test: str | None = None,
) -> Dataset:
    """The images as uint8 ``[n, c, h, w]``, h = w.

    Args:
        data_dir: torchvision's ``root``; None is ``data``.
        resolution: side to bring every image to, in pixels; None leaves them as stored.
        name: the class in torchvision.datasets.
        subset: the part of EMNIST, such as letters, which the class calls ``split``.
        label: none leaves the labels out.
        train: the split to train on, of classes with the argument ``split``; None is train.
        test: the held-out split of these; None is test. Of a class with one split only, every 10th
            image of a class is held out.

    Raises:
        DataError: torchvision or the files are missing, there is no such data set, an option does
            not suit it, or its images are refused as those of ``image-folder`` are.

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
    arguments = _arguments(maker, subset, (train, test))
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


def _arguments(
    maker: Any, subset: str | None, splits: tuple[str | None, str | None]
) -> list[dict[str, object]]:
    """Arguments that make the training and the held-out split; one entry if there is one split."""
    parameters = _parameters(maker)
    takes_train, takes_split = "train" in parameters, "split" in parameters
    takes_subset = takes_train and takes_split
    where = f"--data torchvision: {maker.__name__}"
    if takes_subset and subset is None:
        raise DataError(f"{where} has several parts: name one, such as subset=letters")
    if subset is not None and not takes_subset:
        raise DataError(f"{where} has one part only: leave subset= out")
    if any(splits) and (takes_train or not takes_split):
        raise DataError(f"{where} has no splits to choose from: leave train= and test= out")
    if takes_train:
        own = {"split": subset} if takes_subset else {}
        return [{"train": True, **own}, {"train": False, **own}]
    if takes_split:
        named = zip(splits, SPLITS, strict=True)
        return [{"split": given or default} for given, default in named]
    return [{}]


def _parameters(maker: Any) -> set[str]:
    """Names of the arguments of a data set, with those that it passes on to its base class."""
    own = inspect.signature(maker).parameters
    kinds = {parameter.kind for parameter in own.values()}
    if inspect.Parameter.VAR_KEYWORD not in kinds or maker.__base__ is object:
        return set(own)
    return set(own) | _parameters(maker.__base__)


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
        if "download" not in _parameters(maker):
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
