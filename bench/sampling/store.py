"""Generated samples on disk, in chunks: an evaluation that was killed resumes with those it has.

A run keeps its stores in ``samples/<setting>-<hash>/``, one for each sampler setting, while it is
evaluated; they are removed when their measurements are recorded, unless ``--keep-samples`` is
given. To read one that was kept:

>>> folder = Path("runs/digits-lapjv-.../samples/heun-nfe35-rho7-0123456789")    # doctest: +SKIP
>>> for images in SampleStore(folder).images(50_000):                            # doctest: +SKIP
...     images.shape                                                # [at most 500, c, h, w]
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from bench.data import as_images
from bench.record import UserError, write_bytes, write_json


class SampleError(UserError):
    """The store lacks the samples that are asked for; the message names the way out."""


@dataclass(frozen=True)
class SampleStore:
    """Samples 0, 1, 2, ... of one denoiser and one sampler setting.

    Each chunk is one ``.safetensors`` file, named by the index of its first sample, written whole
    or not at all. The rows of its tensors are samples: ``images`` ``[n, c, h, w]`` in the data
    set's dtype, and others by name; ``finite`` ``[n]`` bool only if some samples were not finite.
    ``settings.json`` describes the samples.
    """

    folder: Path
    settings: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, parent: Path, name: str, settings: Mapping[str, object]) -> SampleStore:
        """Find the store of these settings.

        A hash of them ends its folder's name, so that samples of others never mix in.
        """
        # Sorted, so that the order in which code lists the settings makes no other store.
        canonical = json.dumps(settings, sort_keys=True)
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:10]
        return cls(parent / f"{name}-{digest}", settings)

    def missing(self, n: int, size: int) -> list[range]:
        """Find which of samples 0 .. n - 1 are still to be made, at most ``size`` at a time.

        A damaged chunk is missing.
        """
        gaps = []
        start = 0
        while start < n:
            chunk = self._read(start)
            # Chunks of an earlier session may be of another size.
            length = size if chunk is None else len(chunk["images"])
            rows = range(start, min(n, start + length))
            if chunk is None:
                gaps.append(rows)
                self._warn_if_damaged(start)
            start = rows.stop
        return gaps

    def _warn_if_damaged(self, start: int) -> None:
        path = self._path(start)
        if path.exists():
            tqdm.write(f"warning: {path} is damaged; its samples are made again")

    def add(self, start: int, **tensors: Tensor) -> None:
        """Write the chunk that begins with sample ``start``; it must have ``images``."""
        from safetensors.torch import save

        # Before the first chunk: samples without a description could not be attributed.
        if not (self.folder / "settings.json").exists():
            write_json(self.folder / "settings.json", dict(self.settings))
        write_bytes(self._path(start), save(tensors, metadata={"sha256": _digest(tensors)}))

    def images(self, n: int) -> Iterator[Tensor]:
        """Read images 0 .. n - 1, chunk by chunk ``[., c, h, w]``; errors as for ``tensors``."""
        return self.tensors("images", n)

    def tensors(self, name: str, n: int) -> Iterator[Tensor]:
        """Read rows 0 .. n - 1 of a named tensor, chunk by chunk.

        Raises:
            SampleError: a chunk is missing, damaged, or has no such rows.

        """
        return (chunk[name][:rows] for chunk, rows in self._chunks(name, n))

    def as_measured(self, n: int) -> Iterator[Tensor]:
        """Read images 0 .. n - 1 as they are measured; errors as for ``tensors``.

        A chunk with samples that were not finite comes as floats in [-1, 1] in which those are NaN:
        the integers or the clipped floats that are stored cannot represent them.
        """
        for chunk, rows in self._chunks("images", n):
            images = chunk["images"][:rows]
            finite = chunk.get("finite")
            if finite is not None:
                bad = ~finite[:rows, None, None, None]
                images = as_images(images).masked_fill(bad, math.nan)
            yield images

    def has(self, names: Iterable[str]) -> bool:
        """True if the first chunk holds tensors of all these names."""
        chunk = self._read(0)
        return chunk is not None and set(names) <= chunk.keys()

    def keep(self) -> None:
        """Protect the store from ``remove``, also in later sessions."""
        write_bytes(self.folder / "kept", b"")

    def remove(self) -> None:
        """Delete the store unless it is to be kept, and its parent folder if that is then empty."""
        if (self.folder / "kept").exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        # Not empty: stores of other settings, or pictures, are there.
        with suppress(OSError):
            self.folder.parent.rmdir()

    def _chunks(self, name: str, n: int) -> Iterator[tuple[dict[str, Tensor], int]]:
        """Read the chunks of samples 0 .. n - 1, with the number of rows still wanted from each.

        All of them must have the tensor of that name.
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
        """Read the chunk that begins with sample ``start``; None if there is none or it is damaged.

        The digest finds what safetensors does not: bytes that a failing disk changed.
        """
        from safetensors import SafetensorError, safe_open

        if not self._path(start).exists():
            return None
        try:
            with safe_open(self._path(start), framework="pt") as file:
                names = list(file.keys())  # the file itself is no mapping
                chunk = {name: file.get_tensor(name) for name in names}
                expected = (file.metadata() or {}).get("sha256")
        except (SafetensorError, ValueError):
            return None
        # An empty chunk counts as damaged: loops over chunks would never get beyond it.
        whole = expected == _digest(chunk) and len(chunk["images"]) > 0
        return chunk if whole else None


def clear(parent: Path) -> None:
    """Remove all stores in a folder, also those of other settings, except those to be kept."""
    for store in _stores(parent):
        store.remove()


def keep(parent: Path) -> None:
    """Keep all stores in a folder for good."""
    for store in _stores(parent):
        store.keep()


def _stores(parent: Path) -> list[SampleStore]:
    return [SampleStore(settings.parent) for settings in parent.glob("*/settings.json")]


def weights_digest(net: nn.Module) -> str:
    """Compute the SHA-256 over names, shapes and values of a network's weights.

    Samples of other weights are other samples, whatever the run is called.
    """
    return _digest(net.state_dict())


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        # Types and shapes too: the same bytes may be read in more than one way.
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
