"""One generator a sample: what is drawn for a sample does not depend on the others drawn with it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Streams = Sequence[torch.Generator]


def unit_noise(like: Tensor, streams: Streams) -> Tensor:
    """Unit noise of the shape ``[n, ...]``, the dtype and the device of ``like``, one stream a row.

    Raises:
        ValueError: not as many streams as rows.

    """
    _check(len(like), streams)
    shape, dtype = (
        like.shape[1:],
        torch.float32,
    )  # whatever the default dtype: float64 draws other numbers
    rows = [torch.randn(shape, generator=g, device=g.device, dtype=dtype).to(like) for g in streams]
    return torch.stack(rows) if rows else torch.empty_like(like)


def uniform_index(sizes: Sequence[int], streams: Streams) -> Tensor:
    """An index ``[n]`` int64, uniform in 0 .. sizes[i] - 1; errors as for ``unit_noise``."""
    _check(len(sizes), streams)
    drawn = [
        torch.randint(size, (), generator=g, device=g.device).item()
        for size, g in zip(sizes, streams, strict=True)
    ]
    return torch.tensor(drawn, dtype=torch.int64, device="cpu")


def _check(n: int, streams: Streams) -> None:
    if len(streams) != n:
        raise ValueError(
            f"{len(streams)} streams for {n} samples: this draws, pass one generator for each"
        )
