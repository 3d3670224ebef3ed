"""Pictures of generated images."""

from __future__ import annotations

import io
import math
from pathlib import Path

import torch
from torch import Tensor

from bench.record import write_bytes


def save_grid(path: Path, images: Tensor, columns: int | None = None) -> None:
    """Write images ``[n, c, h, w]`` in [-1, 1] as tiles, one PNG; 2-D points have none.

    As full rows of so many columns, or else as the largest full square. What is not a number is
    grey.
    """
    from PIL import Image

    n, c, h, w = images.shape
    if c not in (1, 3):
        return
    rows, columns = (n // columns, columns) if columns else (math.isqrt(n), math.isqrt(n))
    tiles = images[: rows * columns].reshape(rows, columns, c, h, w)
    tiles = tiles.permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, c)
    pixels = ((tiles.nan_to_num(nan=0.0) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    picture = Image.fromarray(pixels.squeeze(2) if c == 1 else pixels)
    scale = max(1, 256 // picture.width)
    picture = picture.resize(
        (picture.width * scale, picture.height * scale), Image.Resampling.NEAREST
    )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())
