"""Features and moments of the real images of a split, computed once and cached."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from bench.data import Dataset, DecodedImages, StoredImages, as_images
from bench.features import Features
from bench.metrics._moments import Moments
from bench.record import write_bytes
from bench.record.files import digest, locked

CHUNK = 500  # images whose features are taken at a time
PART = 2**24  # numbers of decoded images in a chunk: 64 MiB
HELD = 2**26  # numbers: features of a split are kept in memory up to 256 MiB
STORED = 2**24  # numbers of a file: 64 MiB
VERSION = 1  # raise it when what is stored changes, so that no old file is read

Tensors = dict[str, Tensor]


@torch.no_grad()
def extract(images: Tensor | Iterable[Tensor], features: Features, device: str) -> Iterator[Tensor]:
    """Features ``[., d]`` on the CPU of stored images ``[n, c, h, w]``, given whole or in chunks of
    them.

    Those of an image that is not finite are NaN.
    """
    for chunk in _chunks(images):
        whole = as_images(chunk)
        # Given NaN, some networks raise and others round it to 8 bits.
        finite = whole.flatten(1).isfinite().all(1)
        shown = torch.where(finite[:, None, None, None], whole, 0.0)
        yield features.extract(shown.to(device)).cpu().masked_fill(~finite[:, None], math.nan)


def _chunks(images: Tensor | Iterable[Tensor]) -> Iterable[Tensor]:
    """Chunks of images that are given whole; given chunks as they are."""
    if isinstance(images, DecodedImages):
        # Photographs as floats take a hundred times the memory of their latents.
        parts = images.split(max(1, min(CHUNK, PART // math.prod(images.image))))
        # Read like tensors by all that takes them apart.
        return cast("Iterable[Tensor]", parts)
    return images.split(CHUNK) if isinstance(images, Tensor | StoredImages) else images


def moments(parts: Iterable[Tensor]) -> Moments:
    """Moments of features, given in parts ``[., d]``."""
    return reduce(add, map(Moments.of, parts))


@dataclass(frozen=True)
class Reference:
    """The real images of one split in one kind of features.

    Features of few images are held in memory, up to HELD numbers. Those of a slow network are also
    in ``cache``, in files of STORED numbers at most, so that an extraction that was killed resumes.
    All others are computed again at each pass: memory does not grow with the number of images.
    """

    features: Features
    dataset: Dataset
    split: str
    device: str
    cache: Path | None = None

    def parts(self) -> Iterable[Tensor]:
        """Features of all images in their order, in chunks ``[., d]``."""
        return self._held or self._pass()

    def rows(self, rows: Tensor) -> Tensor:
        """Features ``[m, d]`` of some images, by their numbers ``[m]``."""
        # Of images that are quick to look at, and too many to keep, only these: a pass over
        # millions for each draw of a few would take longer than the training.
        if len(rows) and self._folder is None and not self._held:
            return torch.cat(list(extract(self._images[rows], self.features, self.device)))
        # One pass in the order of the images, because features may have to be computed again and
        # rows come in any order.
        chosen = torch.empty(len(rows), self.features.size)
        start = 0
        for part in self.parts():
            inside = (rows >= start) & (rows < start + len(part))
            chosen[inside] = part[rows[inside] - start]
            start += len(part)
        return chosen

    @cached_property
    def moments(self) -> Moments:
        """Moments of the features of all images."""
        if self._folder is None:
            return moments(self.parts())
        tensors = self._cached("moments", self._moments_as_tensors)
        return Moments(int(tensors["count"]), tensors["total"], tensors["outer"])

    @property
    def key(self) -> dict[str, str]:
        """Everything that the features depend on, in words."""
        return {
            "version": str(VERSION),
            "data": self.dataset.checksum,
            "split": self.split,
            "images": str(len(self._images)),
            "shape": "x".join(map(str, self._images.shape[1:])),
            "features": self.features.name,
            "fingerprint": self.features.fingerprint,
        }

    @property
    def _images(self) -> Tensor:
        return getattr(self.dataset, self.split).images

    @cached_property
    def _held(self) -> list[Tensor]:
        """All chunks if they are few, else none."""
        if len(self._images) * self.features.size > HELD:
            return []
        return list(self._pass())

    @cached_property
    def _folder(self) -> Path | None:
        """Folder of cached features and moments; None if they are not cached."""
        if self.cache is None or not self.features.slow:
            return None
        name = f"reference-{self.features.name}-{self.split}-{digest(self.key, 16)}"
        return self.cache / name

    def _pass(self) -> Iterator[Tensor]:
        if self._folder is None:
            yield from extract(self._images, self.features, self.device)
            return
        start = 0
        # Files of bounded size: what a killed extraction has finished is not lost.
        for images in self._images.split(max(1, STORED // self.features.size)):
            # Both ends are in the name, because with another STORED the files hold other rows.
            name = f"features-{start}-{start + len(images)}"
            tensors = self._cached(name, self._extracted, images)
            yield from tensors["features"].split(CHUNK)
            start += len(images)

    def _extracted(self, images: Tensor) -> Tensors:
        return {"features": torch.cat(list(extract(images, self.features, self.device)))}

    def _moments_as_tensors(self) -> Tensors:
        of_all = moments(self.parts())
        return {
            "count": torch.tensor(of_all.count),
            "total": of_all.total,
            # safetensors refuses tensors that are not contiguous.
            "outer": of_all.outer.contiguous(),
        }

    def _cached(self, name: str, make: Callable[..., Tensors], *args: Tensor) -> Tensors:
        """The tensors of a file of the folder; made if it is missing, damaged or of other data."""
        from safetensors.torch import save

        path = self._folder / f"{name}.safetensors"
        key = json.dumps({**self.key, "holds": name}, sort_keys=True)
        tensors = _read(path, key)
        if tensors is not None:
            return tensors
        # Each file has its own lock, because making the moments needs the features.
        with locked(path):
            # Another run may have made it while this one waited.
            tensors = _read(path, key)
            if tensors is None:
                tensors = make(*args)
                write_bytes(path, save(tensors, {"key": key}))
        return tensors


def _read(path: Path, key: str) -> Tensors | None:
    """The tensors of a file that was written whole for this key, or None."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            if file.metadata() != {"key": key}:
                return None
            names = file.keys()  # a file is no mapping, so it cannot be iterated over itself
            return {name: file.get_tensor(name) for name in names}
    # A file that was cut short is no error: it is made again, as if it were missing.
    except (FileNotFoundError, SafetensorError):
        return None
