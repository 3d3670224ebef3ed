"""Images that stay in their file: a pool at a time is read from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.record import UserError
from couplings.memory import available_bytes, gigabytes

BLOCK_BYTES = 2**25  # of a file that are read at once, and then converted
PART_VALUES = 2**24  # that are looked at together: 64 MiB of float32


class StoredError(UserError):
    """The file can no longer be read, or memory cannot hold all of it; the message says which."""


@dataclass(frozen=True, eq=False)
class StoredImages:
    """Rows of an uncompressed array file, with those methods of a tensor that data sets need.

    Indexing reads the rows asked for and returns a tensor, uint8 or float32; ``images[:]`` is all
    of it. It pickles as the path.

    Attributes:
        path: the file.
        offset: bytes before the first row.
        stored: NumPy's dtype of the values in the file.
        count: rows of the file.
        image: shape of an image ``(c, h, w)``.
        rows: numbers of the rows that are meant, ``[n]``; None for all in their order.
        device: where rows that were read are put.

    """

    path: Path
    offset: int
    stored: str
    count: int
    image: tuple[int, int, int]
    rows: Tensor | None = None
    device: torch.device = torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """uint8 as stored; all floats are read as float32."""
        return torch.uint8 if np.dtype(self.stored) == np.uint8 else torch.float32

    @property
    def shape(self) -> torch.Size:
        """``[n, c, h, w]``."""
        return torch.Size((len(self), *self.image))

    def __len__(self) -> int:
        return self.count if self.rows is None else len(self.rows)

    def dim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def is_floating_point(self) -> bool:
        """True unless images are bytes."""
        return self.dtype.is_floating_point

    def to(self, device: str | torch.device) -> StoredImages:
        """The same images; those that are read are put on ``device``."""
        return replace(self, device=torch.device(device))

    def chosen(self, rows: Tensor) -> StoredImages:
        """Some of the rows ``[m]``, unread."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])

    def split(self, size: int) -> Iterator[Tensor]:
        """Tensors of up to ``size`` images, read one after the other."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def flatten(self, start_dim: int) -> Tensor:
        """All images, read and flattened."""
        return self[:].flatten(start_dim)

    def __getitem__(self, key: int | slice | Tensor) -> Tensor:
        if isinstance(key, int):
            return self[key : key + 1 or None][0]
        if isinstance(key, Tensor):
            key = key.cpu()
        elif key == slice(None):
            self._check_room()
        # Of numbers, not of the file: 8 bytes for each image.
        places = torch.arange(self.count, device="cpu") if self.rows is None else self.rows
        return self._read(places[key]).to(self.device)

    def _read(self, places: Tensor) -> Tensor:
        """The rows of the file with these numbers ``[m]``."""
        images = torch.empty((len(places), *self.image), dtype=self.dtype, device="cpu")
        if not len(places):
            return images
        size = max(1, BLOCK_BYTES // self._row_bytes)
        try:
            # Read, not mapped: pages of a mapping count as memory of the process, and a single row
            # may bring megabytes of its neighbours.
            with self.path.open("rb") as file:
                for into, block in zip(images.split(size), places.split(size), strict=True):
                    into.copy_(self._read_block(file, block.numpy()))
        except (OSError, EOFError) as error:
            raise StoredError(
                f"{self.path} can no longer be read ({error}): leave it as it is while a run uses"
                " it"
            ) from None
        return images

    def _read_block(self, file: BufferedReader, places: np.ndarray) -> Tensor:
        # In the order of the file: disks and network folders read ahead.
        order = np.argsort(places)
        ordered = places[order]
        rows = np.empty((len(places), *self.image), self.stored)
        # Rows that follow each other are one read.
        begins = np.flatnonzero(np.diff(ordered, prepend=-2) != 1)
        for part, first in zip(np.split(rows, begins[1:]), ordered[begins], strict=True):
            file.seek(self.offset + int(first) * self._row_bytes)
            if file.readinto(part.data.cast("B")) < part.nbytes:
                raise EOFError("it is shorter than its header says")
        images = torch.empty(rows.shape, dtype=self.dtype, device="cpu")
        # As numbers of this machine: files may hold half precision or the other byte order.
        images[torch.from_numpy(order)] = torch.from_numpy(rows.astype(_plain(self.stored)))
        return images

    @property
    def _row_bytes(self) -> int:
        return math.prod(self.image) * np.dtype(self.stored).itemsize

    def _check_room(self) -> None:
        needed = 4 * math.prod(self.shape)
        if needed > available_bytes("cpu"):
            raise StoredError(
                f"{self.path}: all {len(self):,} images at once take {gigabytes(needed)},"
                " more than is available: leave out what needs them (couplings of the training set,"
                " --start, --guidance), or take fewer images"
            )


def in_parts(images: Tensor | StoredImages) -> Iterable[Tensor]:
    """Rows of a tensor ``[n, ...]`` or of a file, as many at a time as memory never notices."""
    return images.split(max(1, PART_VALUES // max(1, math.prod(images.shape[1:]))))


def _plain(stored: str) -> np.dtype:
    """The dtype to read values as: bytes, or float32 in the byte order of this machine."""
    return np.dtype(np.uint8 if np.dtype(stored) == np.uint8 else np.float32)
