"""Real images in one kind of features, and what is computed from them once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from bench.data import Dataset
from bench.features import Features
from bench.metrics._reference import Reference, extract
from bench.randomness import generator

SPLITS = ("train", "test")
SOME = 2000  # samples, and real images of a split, that are compared one by one
T = TypeVar("T")


@dataclass(frozen=True)
class FeatureSpace:
    """Real images in one kind of features: what a metric compares samples with.

    What is computed from real images alone is computed once and shared by all samples of a run.

    Attributes:
        features: the extractor.
        dataset: the real images.
        device: where features are computed.
        cache: folder for features that are slow to compute; runs with the same data share it.
        requested: classes ``[samples]`` that a conditional denoiser is asked for; else None.
        most: how many samples, and real images of a split, are compared one by one at most, so
            that neither time nor memory grows with the number of samples.

    """

    features: Features
    dataset: Dataset
    device: str = "cpu"
    cache: Path | None = None
    requested: Tensor | None = None
    most: int = SOME
    _memory: dict[object, object] = field(default_factory=dict, repr=False, compare=False)

    def extract(self, images: Tensor | Iterable[Tensor]) -> Iterator[Tensor]:
        """Features ``[., size]`` of stored images, chunk by chunk; NaN where not finite."""
        return extract(images, self.features, self.device)

    @cached_property
    def real(self) -> dict[str, Reference]:
        """Features of all real images, by split."""
        references = {}
        for split in SPLITS:
            references[split] = Reference(
                self.features, self.dataset, split, self.device, self.cache
            )
        return references

    @cached_property
    def some(self) -> dict[str, Tensor]:
        """Features ``[at most most, size]`` of real images of each split, the same for all runs."""
        features = {}
        for split, real in self.real.items():
            count = len(getattr(self.dataset, split))
            # At random: image files are often sorted by class.
            order = torch.randperm(count, generator=generator(0, f"metrics {split}"))
            features[split] = real.rows(order[: self.most])
        return features

    @property
    def is_pixels_of_pictures(self) -> bool:
        """True where distances say which images are equally bright, hardly which are alike."""
        return self.features.name == "pixels" and self.dataset.bounded

    def once(self, make: Callable[..., T], *args: Any) -> T:
        """The result of ``make(space, *args)``, computed at the first call and then kept."""
        # By the function, not its name: helpers of two metrics may have the same name.
        key = (make, args)
        if key not in self._memory:
            self._memory[key] = make(self, *args)
        return self._memory[key]  # type: ignore[return-value]
