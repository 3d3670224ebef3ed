"""What samples are measured in. One file, one extractor: ``load(dataset, cache, device) -> Features``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bench.data import Dataset


class FeatureError(ValueError):
    """The features cannot be had; the message names the way out."""


@dataclass(frozen=True)
class Features:
    """An extractor and what is known about it.

    Attributes:
        name: as in ``fd_<name>``.
        extract: images ``[n, c, h, w]`` float32 in [-1, 1] to features ``[n, size]``.
        size: number of features of an image.
        fingerprint: changes whenever the features do.
        accuracy: test accuracy in [0, 1] where the extractor is a classifier.
        classify: there, features ``[n, size]`` to predicted classes ``[n]`` on the CPU.

    """

    name: str
    extract: Callable[[Tensor], Tensor]
    size: int
    fingerprint: str
    accuracy: float | None = None
    classify: Callable[[Tensor], Tensor] | None = None


def names(dataset: Dataset | None = None) -> tuple[str, ...]:
    """Names of the extractors, one for each file in this folder; those that suit a data set, where one is given."""
    found = tuple(sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules([str(Path(__file__).parent)])))
    one_class = dataset is not None and dataset.num_classes < 2
    return tuple(name for name in found if not (one_class and name == "classifier"))  # it would have nothing to learn


def load(name: str, dataset: Dataset, cache: Path, device: str) -> Features:
    """Load (or train once and cache) an extractor for a data set.

    Raises:
        FeatureError: no such extractor, or it is not good enough.

    """
    if name not in names():
        raise FeatureError(f"unknown features {name!r}. Known: {', '.join(names())}")
    return importlib.import_module(f"bench.features.{name.replace('-', '_')}").load(dataset, cache, device)
