"""One generator per sample: the numbers of a sample do not depend on those drawn with it.

Chunks of any size, in any order, therefore draw the same samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Streams = Sequence[torch.Generator]


def unit_noise(like: Tensor, streams: Streams) -> Tensor:
    """Draw unit noise of the shape ``[n, ...]``, dtype and device of ``like``, one stream per row.

    Raises:
        ValueError: not as many streams as rows.

    """
    _check(len(like), streams)
    rows = []
    for stream in streams:
        # Float32 whatever torch's default dtype is: float64 would draw other numbers.
        row = torch.randn(
            like.shape[1:], generator=stream, device=stream.device, dtype=torch.float32
        )
        rows.append(row.to(like))
    return torch.stack(rows) if rows else torch.empty_like(like)


def uniform_index(sizes: Sequence[int], streams: Streams) -> Tensor:
    """Draw an index ``[n]`` int64, uniform in 0 .. sizes[i] - 1; errors as for ``unit_noise``."""
    _check(len(sizes), streams)
    rows = []
    for size, stream in zip(sizes, streams, strict=True):
        rows.append(torch.randint(size, (), generator=stream, device=stream.device).item())
    return torch.tensor(rows, dtype=torch.int64, device="cpu")


def _check(n: int, streams: Streams) -> None:
    if len(streams) != n:
        raise ValueError(
            f"{len(streams)} streams for {n} samples: this draws, pass one generator for each"
        )
