"""One line on the loaded data, which shows a wrong folder or lost labels before the training."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence

import torch

from bench.data._remarks import printable
from bench.data.contract import Dataset

# Names of classes in the line: data sets of photographs can have a thousand.
_SHOWN = 6


def describe(dataset: Dataset) -> str:
    """The line on a data set: numbers and size of the images, classes and their source, what was
    skipped.
    """
    counts = f"{len(dataset.train):,} training and {len(dataset.test):,} held-out"
    parts = [
        f"{counts} {_what(dataset)}",
        _classes(dataset),
        *_without_held_out(dataset),
        *dataset.origin.notes,
    ]
    return f"{dataset.name}: {'; '.join(parts)}"


def _what(dataset: Dataset) -> str:
    """Kind and size of the data: images, or points of a few coordinates."""
    channels, height, width = dataset.image_shape
    # Images of one pixel are how points reach an image network.
    if height == width == 1:
        return f"points of {channels} coordinate{'s' * (channels != 1)}"
    return f"images of {width} x {height} pixels, {channels} channel{'s' * (channels != 1)}"


@functools.cache
def announce(line: str) -> None:
    """Print the line of a data set, once in a process however many runs load the same data."""
    # Names of classes are the user's, and a terminal may lack their letters.
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def _classes(dataset: Dataset) -> str:
    """The classes and where their labels come from."""
    if dataset.has_conditions:
        return f"conditions of {dataset.label_dim} number{'s' * (dataset.label_dim != 1)}"
    origin = dataset.origin
    source = f" (labels: {origin.labels})" if origin.labels else ""
    names = f": {_listed(origin.classes)}" if origin.classes else ""
    return f"{dataset.num_classes:,} class{'es' * (dataset.num_classes != 1)}{source}{names}"


def _without_held_out(dataset: Dataset) -> list[str]:
    """A phrase on the classes that have no held-out image, if there are any.

    Test metrics of such a class say nothing.
    """
    if dataset.has_conditions:
        return []
    held_out = torch.bincount(dataset.test.labels, minlength=dataset.num_classes)
    missing = (held_out == 0).nonzero().flatten().tolist()
    if not missing:
        return []
    classes = dataset.origin.classes
    names = [classes[number] if classes else str(number) for number in missing]
    return [f"without held-out images: {_listed(names)}"]


def _listed(names: Sequence[str]) -> str:
    """Names as they can be printed, the middle of a long list left out."""
    shown = [printable(name) for name in names]
    if len(shown) > _SHOWN:
        shown = [*shown[: _SHOWN - 1], "...", shown[-1]]
    return ", ".join(shown)
