"""What samples are measured in.

One file, one extractor: ``load(dataset, cache, device, *, option=None) -> Features``. The keyword
arguments, words or whole numbers, are the options of its spec: ``name`` or
``name:key=value,key=value``, such as ``inception:weights=inception.pth``. Files whose name begins
with an underscore hold no extractor.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor

from bench.data import Dataset
from bench.process.defaults import plain_torch
from couplings import plugins
from couplings.errors import CouplingError, unknown
from couplings.spec import split_spec

DEFAULT = ("classifier", "pixels")
BATCH = 64  # images that a large network takes at a time: 500 of 299 x 299 pixels would take 6 GiB


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
        probabilities: there, features to class probabilities ``[n, classes]`` on the CPU.
        slow: whether features of real images are worth keeping on disk.

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
    one_class = dataset is not None and dataset.num_classes < 2
    # It would have nothing to learn
    return tuple(name for name in DEFAULT if not (one_class and name == "classifier"))


def all_names() -> tuple[str, ...]:
    """Names of all extractors, one for each file in this folder, taken by default or not."""
    return plugins.names("bench.features")


def check(spec: str) -> None:
    """Refuse a spec that no extractor has; quick, for it loads no weights.

    Raises:
        FeatureError: unknown name or option (with the near matches), or a bad value.

    """
    _parse(spec)


@plain_torch()
def load(spec: str, dataset: Dataset, cache: Path, device: str) -> Features:
    """Load (or train once and cache) the extractor of a spec for a data set.

    Raises: FeatureError: unknown name or option, a library or a file is missing, or the extractor
        is not good enough.

    """
    extractor, options = _parse(spec)
    return extractor(dataset, cache, device, **options)


def load_all(specs: Sequence[str], dataset: Dataset, cache: Path, device: str) -> list[Features]:
    """Load the extractors of several specs.

    Raises: FeatureError: as ``load``, or two of them have one name, so that their metrics could not
        be told apart.

    """
    for spec in specs:
        check(spec)  # before the first one is trained
    found: dict[str, Features] = {}
    for spec in specs:
        features = load(spec, dataset, cache, device)
        if features.name in found:
            raise FeatureError(
                f"{spec}: the name {features.name!r} is taken; leave one out, or give another"
                " name=NAME"
            )
        found[features.name] = features
    return list(found.values())


def in_batches(extract: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The extractor that takes ``BATCH`` images at a time, so that the memory of a large network is
    bounded.
    """
    return lambda images: torch.cat([extract(batch) for batch in images.split(BATCH)])


def _parse(spec: str) -> tuple[Callable[..., Features], dict[str, str | int]]:
    """The extractor of a spec and its options."""
    try:
        name, words = split_spec(spec)
        extractor = plugins.load("features", name, "bench.features").load
        hints, parameters = (
            get_type_hints(extractor),
            inspect.signature(extractor).parameters.values(),
        )
        options = {p.name: hints[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}
        for key in words:
            if key not in options:
                raise unknown(f"option of {name}", key, options)
    except (CouplingError, plugins.PluginError) as error:
        raise FeatureError(str(error)) from None
    return extractor, {
        key: _read(word, options[key], f"{name}: {key}") for key, word in words.items()
    }


def _read(word: str, hint: Any, where: str) -> str | int:
    """The value of an option of type ``str | None`` or ``int | None``."""
    if int not in get_args(hint):
        return word
    try:
        return int(word)
    except ValueError:
        raise FeatureError(f"{where} must be a whole number, got {word!r}") from None
