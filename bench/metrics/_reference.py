"""What real images are in one kind of features: the side of a comparison that all samples are
measured against.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from bench.data import Dataset, as_images
from bench.features import Features
from bench.metrics._moments import Moments
from bench.record import write_bytes

CHUNK = 500  # images whose features are taken at a time
HELD = 2**26  # numbers: features of a split are kept in memory up to 256 MiB
STORED = 2**24  # numbers of a file: 64 MiB
VERSION = 1  # raise it when what is stored changes, so that no old file is read

Tensors = dict[str, Tensor]


@torch.no_grad()
def extract(images: Tensor | Iterable[Tensor], features: Features, device: str) -> Iterator[Tensor]:
    """Features ``[., d]`` on the CPU of stored images ``[n, c, h, w]``, given whole or in chunks of
    them.

    Those of an image that is not finite are NaN, whatever the network would make of it: some raise,
    others round it to 8 bits.
    """
    for chunk in images.split(CHUNK) if isinstance(images, Tensor) else images:
        whole = as_images(chunk)
        finite = whole.flatten(1).isfinite().all(1)
        shown = torch.where(finite[:, None, None, None], whole, 0.0)
        yield features.extract(shown.to(device)).cpu().masked_fill(~finite[:, None], math.nan)


def moments(parts: Iterable[Tensor]) -> Moments:
    """Moments of features, given in parts ``[., d]``."""
    return reduce(add, map(Moments.of, parts))


@dataclass(frozen=True)
class Reference:
    """The real images of one split in one kind of features.

    Features of few images are held in memory, up to HELD numbers. Those of a slow network lie in
    ``cache`` as well, in files of STORED numbers at most, so that an extraction that was killed
    goes on where it was. All others are taken anew at each pass: memory does not grow with the
    number of images.
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
        found, start = torch.empty(len(rows), self.features.size), 0
        for part in self.parts():
            inside = (rows >= start) & (rows < start + len(part))
            found[inside] = part[rows[inside] - start]
            start += len(part)
        return found

    @cached_property
    def moments(self) -> Moments:
        """Moments of the features of all images."""
        if self._folder is None:
            return moments(self.parts())
        found = self._kept("moments", lambda: _as_tensors(moments(self.parts())))
        return Moments(int(found["count"]), found["total"], found["outer"])

    @property
    def key(self) -> dict[str, str]:
        """All that the features depend on, in words."""
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
        """All chunks where they are few, else none."""
        return list(self._pass()) if len(self._images) * self.features.size <= HELD else []

    @cached_property
    def _folder(self) -> Path | None:
        """Where features and moments are kept; None where they are not."""
        if self.cache is None or not self.features.slow:
            return None
        digest = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()
        return self.cache / f"reference-{self.features.name}-{self.split}-{digest[:16]}"

    def _pass(self) -> Iterator[Tensor]:
        if self._folder is None:
            yield from extract(self._images, self.features, self.device)
            return
        start = 0
        for images in self._images.split(max(1, STORED // self.features.size)):
            name = f"features-{start}-{start + len(images)}"
            yield from self._kept(name, lambda images=images: self._extracted(images))[
                "features"
            ].split(CHUNK)
            start += len(images)

    def _extracted(self, images: Tensor) -> Tensors:
        return {"features": torch.cat(list(extract(images, self.features, self.device)))}

    def _kept(self, name: str, make: Callable[[], Tensors]) -> Tensors:
        """The tensors of a file of the folder; made where it is missing, damaged or of something
        else.
        """
        from safetensors.torch import save

        path, key = (
            self._folder / f"{name}.safetensors",
            json.dumps({**self.key, "holds": name}, sort_keys=True),
        )
        found = _read(path, key)
        if found is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Runs that start together wait for one of them. A lock of its own for each file:
            # moments need the features.
            with FileLock(f"{path}.lock"):
                found = _read(path, key)
                if found is None:
                    found = make()
                    write_bytes(path, save(found, {"key": key}))
        return found


def _read(path: Path, key: str) -> Tensors | None:
    """The tensors of a file that was written whole for this key, or None."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            if file.metadata() != {"key": key}:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (FileNotFoundError, SafetensorError):
        return None


def _as_tensors(found: Moments) -> Tensors:
    return {
        "count": torch.tensor(found.count),
        "total": found.total,
        "outer": found.outer.contiguous(),
    }
