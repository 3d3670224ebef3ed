"""Training sets: the check, the checksum that a state is tied to, and the classes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from couplings.errors import require
from couplings.pool import flatten_finite


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """A checked training set, as `DatasetCoupling.begin` gets it.

    Nothing in it may be modified in place.

    Attributes:
        images: `[n, ...]` float32 or float64, detached and finite, n >= 1.
        labels: `[n]` or `[n, k]` on the CPU, or None.
        rows: n digests, one per image; equal images have equal digests.
        checksum: of images and labels together, in order.

    """

    images: Tensor
    labels: Tensor | None
    rows: tuple[bytes, ...]
    checksum: bytes


def training_set(images: Tensor, labels: Tensor | None = None) -> TrainingSet:
    """Check a training set and compute its checksum.

    Args:
        images: `[n, ...]`, any floating dtype.
        labels: `[n]` or `[n, k]`, or None.

    Raises:
        CouplingError: nothing to fit on, not floating point, not finite, or labels of another
            length.

    """
    require(isinstance(images, Tensor) and images.dim() > 1, "images must be a tensor [n, ...]")
    require(
        images.is_floating_point(), f"images are {images.dtype}: scale them to floating point first"
    )
    require(images.numel() > 0, f"nothing to fit on: images {list(images.shape)}")
    flat = flatten_finite(images, "images")
    if labels is not None:
        labels = _checked_labels(labels, len(images))
    rows = tuple(_digest(row) for row in flat.cpu().contiguous().numpy())
    # The shape counts: [n, 1, 2, 2] and [n, 4] hold the same values, but mirror images differ.
    whole = hashlib.sha256(repr((tuple(images.shape), flat.dtype)).encode())
    whole.update(b"".join(rows))
    if labels is not None:
        whole.update(labels.contiguous().numpy().tobytes())
    return TrainingSet(flat.reshape(images.shape), labels, rows, whole.digest())


def groups(labels: Tensor | None, n: int) -> tuple[Tensor, list[Tensor]]:
    """The distinct labels `[g, ...]`, and for each of them the indices `[m]` of its images.

    Without labels there is one group of all n images.
    """
    if labels is None:
        return torch.zeros(1, dtype=torch.int64, device="cpu"), [torch.arange(n, device="cpu")]
    values, inverse = labels.cpu().unique(dim=0, return_inverse=True)
    return values, [(inverse == g).nonzero()[:, 0] for g in range(len(values))]


def _checked_labels(labels: Tensor, n: int) -> Tensor:
    require(
        isinstance(labels, Tensor) and labels.dim() in (1, 2),
        "labels must be a tensor [n] or [n, k]",
    )
    require(len(labels) == n, f"{len(labels)} labels for {n} images")
    return labels.detach().cpu()


def _digest(row: Any) -> bytes:
    # Adding zero turns -0.0 into 0.0: equal images must have equal digests.
    return hashlib.blake2b((row + 0.0).tobytes(), digest_size=16).digest()
