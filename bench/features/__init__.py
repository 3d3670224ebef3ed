"""Features that samples are measured in.

One file, one extractor: ``load(dataset, cache, device, *, option=None) -> Features``. The keyword
arguments are the options of its spec: ``name`` or ``name:key=value,key=value``, such as
``inception:weights=inception.pth``. A user's own extractor is any module with such a function,
asked for by its path: ``my_project.my_features:size=64``. Files whose name begins with an
underscore hold no extractor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.data import Dataset
from bench.process.defaults import plain_torch
from bench.record import UserError
from couplings import plugins
from couplings.errors import PluginError
from couplings.spec import read_options, split_spec

PACKAGE = "bench.features"
DEFAULT = ("classifier", "pixels")
BATCH = 64  # images that a large network takes at a time: 500 of 299 x 299 pixels would take 6 GiB


class FeatureError(UserError):
    """Features that cannot be loaded; the message names the way out."""


@dataclass(frozen=True)
class Features:
    """An extractor and its properties.

    Attributes:
        name: as in ``fd_<name>``.
        extract: images ``[n, c, h, w]`` float32 in [-1, 1] to features ``[n, size]``.
        size: number of features of an image.
        fingerprint: changes whenever the features do.
        accuracy: test accuracy in [0, 1] where the extractor is a classifier.
        classify: there, features ``[n, size]`` to predicted classes ``[n]`` on the CPU.
        probabilities: there, features to class probabilities ``[n, classes]`` on the CPU.
        slow: True if features of real images are worth keeping on disk.

    """

    name: str
    extract: Callable[[Tensor], Tensor]
    size: int
    fingerprint: str
    accuracy: float | None = None
    classify: Callable[[Tensor], Tensor] | None = None
    probabilities: Callable[[Tensor], Tensor] | None = None
    slow: bool = False


def names(dataset: Dataset | None = None) -> tuple[str, ...]:
    """Names of the extractors taken by default; those that suit a data set, where one is given."""
    if dataset is not None and dataset.num_classes < 2:
        # A classifier would have nothing to learn.
        return tuple(name for name in DEFAULT if name != "classifier")
    return DEFAULT


def all_names() -> tuple[str, ...]:
    """Names of all extractors, one for each file in this folder, taken by default or not."""
    return plugins.names(PACKAGE)


def check(spec: str) -> None:
    """Refuse a spec that no extractor has; quick, for it loads no weights.

    Raises:
        FeatureError: unknown name or option (with the near matches), or a bad value.

    """
    _parse(spec)


@plain_torch()
def load(spec: str, dataset: Dataset, cache: Path, device: str) -> Features:
    """Load (or train once and cache) the extractor of a spec for a data set.

    Raises:
        FeatureError: unknown name or option, a library or a file is missing, or the extractor is
            not good enough.

    """
    extractor, options = _parse(spec)
    return extractor(dataset, cache, device, **options)


def load_all(specs: Sequence[str], dataset: Dataset, cache: Path, device: str) -> list[Features]:
    """Load the extractors of several specs.

    Raises:
        FeatureError: as ``load``, or two of them have the same name, which would mix their metrics.

    """
    # All of them before the first one is trained, which may take minutes.
    for spec in specs:
        check(spec)
    loaded: dict[str, Features] = {}
    for spec in specs:
        features = load(spec, dataset, cache, device)
        if features.name in loaded:
            raise FeatureError(
                f"{spec}: the name {features.name!r} is taken; leave one out, or give another"
                " name=NAME"
            )
        loaded[features.name] = features
    return list(loaded.values())


def in_batches(extract: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The extractor on ``BATCH`` images at a time, to bound the memory of a large network."""

    def batched(images: Tensor) -> Tensor:
        return torch.cat([extract(batch) for batch in images.split(BATCH)])

    return batched


def _parse(spec: str) -> tuple[Callable[..., Features], dict[str, Any]]:
    """The extractor of a spec and its options."""
    try:
        name, words = split_spec(spec)
        module = plugins.load("features", name, PACKAGE)
        extractor = getattr(module, "load", None)
        if extractor is None:
            raise FeatureError(f"{spec}: {module.__name__} has no function load")
        return extractor, read_options(extractor, words, name)
    except PluginError as error:
        raise FeatureError(str(error)) from None
