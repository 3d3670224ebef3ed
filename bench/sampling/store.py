"""Generated samples on disk, in chunks: what a killed evaluation has sampled is there when it goes
on.

A run keeps its stores in ``samples/<setting>-<hash>/``, one for each sampler setting, while it is
evaluated; they are removed when their measurements are recorded, unless ``--keep-samples`` says
otherwise. To read a kept one:

>>> store = SampleStore(Path("runs/digits-lapjv-.../samples/heun-nfe35-rho7-0123456789"))    # doctest: +SKIP
>>> for images in store.images(50_000):                                                       # doctest: +SKIP
...     images.shape                                                                          # [at most 500, c, h, w]
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bench.data import as_images
from bench.record import write_bytes, write_json


class SampleError(ValueError):
    """The store does not hold what is asked for; the message names the way out."""


@dataclass(frozen=True)
class SampleStore:
    """Samples 0, 1, 2, ... of one denoiser and one sampler setting.

    Each chunk is one ``.safetensors`` file, named by the index of its first sample, written whole
    or not at all. It holds tensors whose rows are samples: ``images`` ``[n, c, h, w]`` in the data
    set's dtype, and others by name; ``finite`` ``[n]`` bool only where some samples were not
    finite. ``settings.json`` says what the samples are of.
    """

    folder: Path
    settings: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, parent: Path, name: str, settings: Mapping[str, object]) -> SampleStore:
        """The store of these settings; a hash of them ends its folder's name, so those of others
        never mix in.
        """
        canonical = json.dumps(settings, sort_keys=True)
        return cls(
            parent / f"{name}-{hashlib.sha256(canonical.encode()).hexdigest()[:10]}", settings
        )

    def missing(self, n: int, size: int) -> list[range]:
        """What of samples 0 .. n - 1 is still to be made, at most ``size`` at a time; a damaged
        chunk is missing.
        """
        found, start = [], 0
        while start < n:
            chunk = self._read(start)
            rows = range(start, min(n, start + (size if chunk is None else len(chunk["images"]))))
            if chunk is None:
                found.append(rows)
                if self._path(start).exists():
                    tqdm.write(
                        f"warning: {self._path(start)} is damaged; its samples are made again"
                    )
            start = rows.stop
        return found

    def add(self, start: int, **tensors: Tensor) -> None:
        """Write the chunk that begins with sample ``start``; ``images`` must be among its tensors."""
        from safetensors.torch import save

        if not (self.folder / "settings.json").exists():
            write_json(self.folder / "settings.json", dict(self.settings))
        write_bytes(self._path(start), save(tensors, metadata={"sha256": _digest(tensors)}))

    def images(self, n: int) -> Iterator[Tensor]:
        """Images 0 .. n - 1, chunk by chunk ``[., c, h, w]``; errors as for ``tensors``."""
        return self.tensors("images", n)

    def tensors(self, name: str, n: int) -> Iterator[Tensor]:
        """Rows 0 .. n - 1 of a named tensor, chunk by chunk.

        Raises:
            SampleError: a chunk is missing, damaged, or has no such rows.

        """
        return (chunk[name][:rows] for chunk, rows in self._chunks(name, n))

    def as_measured(self, n: int) -> Iterator[Tensor]:
        """Images 0 .. n - 1 as they are measured; errors as for ``tensors``.

        A chunk with samples that were not finite comes as floats in [-1, 1] in which those are NaN:
        the integers or the clipped floats that are stored cannot tell.
        """
        for chunk, rows in self._chunks("images", n):
            images, finite = chunk["images"][:rows], chunk.get("finite")
            if finite is not None:
                images = as_images(images).masked_fill(~finite[:rows, None, None, None], math.nan)
            yield images

    def keep(self) -> None:
        """From now on ``remove`` leaves the store alone."""
        write_bytes(self.folder / "kept", b"")

    def remove(self) -> None:
        """Delete the store, if it is not to be kept, and the folder it lies in where nothing else
        is left there.
        """
        if (self.folder / "kept").exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()

    def _chunks(self, name: str, n: int) -> Iterator[tuple[dict[str, Tensor], int]]:
        """The chunks behind samples 0 .. n - 1, which all hold that tensor, and how many rows of
        each are meant.
        """
        start = 0
        while start < n:
            chunk = self._read(start)
            if chunk is None or len(chunk.get(name, ())) < min(n - start, len(chunk["images"])):
                raise SampleError(
                    f"{self._path(start)} is missing, damaged or without {name!r}: evaluate again"
                )
            yield chunk, n - start
            start += len(chunk["images"])

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:08d}.safetensors"

    def _read(self, start: int) -> dict[str, Tensor] | None:
        """The chunk that begins with sample ``start``; None where there is none, or a damaged one."""
        from safetensors import SafetensorError, safe_open

        if not self._path(start).exists():
            return None
        try:
            with safe_open(self._path(start), framework="pt") as file:
                chunk = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
                whole = (file.metadata() or {}).get("sha256") == _digest(chunk)
        except (SafetensorError, ValueError):
            return None
        return chunk if whole and len(chunk["images"]) else None


def clear(parent: Path) -> None:
    """Remove all stores in a folder, also those of other settings, but for those that are to be
    kept.
    """
    for store in _stores(parent):
        store.remove()


def keep(parent: Path) -> None:
    """Keep all stores in a folder for good."""
    for store in _stores(parent):
        store.keep()


def _stores(parent: Path) -> list[SampleStore]:
    return [SampleStore(settings.parent) for settings in parent.glob("*/settings.json")]


def weights_digest(net: nn.Module) -> str:
    """SHA-256 over names, shapes and values of a network's weights: samples of others are not its
    samples.
    """
    return _digest(net.state_dict())


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
