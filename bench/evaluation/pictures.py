"""Pictures of generated images, and of the denoiser output along their paths."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from bench.record import write_bytes
from models.ode import Point

WIDTH = 256  # pixels up to which a picture is enlarged
GUTTER = 1  # pixels between two images of a grid, before it is enlarged


def is_shown(images: Tensor) -> bool:
    """True if images ``[n, c, h, w]`` are grey or in colour, so that there is a picture of them."""
    return images.shape[1] in (1, 3)


def save_grid(path: Path, images: Tensor, columns: int | None = None, width: int = WIDTH) -> None:
    """Write images ``[n, c, h, w]`` in [-1, 1] as tiles, one PNG; 2-D points have none.

    Pixels are enlarged by a whole number, to at most ``width`` pixels. As full rows of so many
    columns, or else as the largest full square. What is not a number is grey.
    """
    from PIL import Image

    if not is_shown(images):
        return
    n, c, h, w = images.shape
    # Without a number of columns, the largest square that the images fill.
    side = math.isqrt(n)
    rows = n // columns if columns else side
    columns = columns or side
    tiles = images[: rows * columns].reshape(rows, columns, c, h, w)
    # A line of grey between them, or digits of 8 x 8 pixels run into one pattern.
    tiles = torch.nn.functional.pad(tiles, (0, GUTTER, 0, GUTTER))
    h, w = h + GUTTER, w + GUTTER
    tiles = tiles.permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, c)
    tiles = tiles[: rows * h - GUTTER, : columns * w - GUTTER]
    # [-1, 1] to 0 ... 255; NaN becomes 0, which is grey.
    pixels = ((tiles.nan_to_num(nan=0.0) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    picture = Image.fromarray(pixels.squeeze(2) if c == 1 else pixels)
    # Small images are enlarged without smoothing, so that single pixels can be seen.
    scale = max(1, width // picture.width)
    picture = picture.resize(
        (picture.width * scale, picture.height * scale), Image.Resampling.NEAREST
    )
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


@dataclass
class Tangents:
    """Observer of a sampler: D at some points of the paths of the first samples of a batch.

    x - sigma dx/dsigma = D: where one Euler step would end from there. All alike along a row means
    a straight path.
    """

    rows: int
    points: list[int]  # which points, counted from 0
    seen: int = 0
    outputs: list[Tensor] = field(default_factory=list)

    @classmethod
    def evenly(cls, rows: int, columns: int, points: int) -> Tangents:
        """As many columns evenly over a path's points, both ends among them; fewer where it has
        fewer points.
        """
        places = torch.linspace(
            0, points - 1, min(columns, points), dtype=torch.float32, device="cpu"
        )
        return cls(rows, places.round().long().tolist())

    def __call__(self, point: Point) -> None:
        """Observe the next point of the paths."""
        if self.seen in self.points:
            # float() copies the few rows out of the sampler's float64, so that the batch can be
            # freed.
            self.outputs.append(point.denoised[: self.rows].float())
        self.seen += 1

    def per_sample(self) -> dict[str, Tensor]:
        """``tangents`` ``[rows, columns, ...]`` float32, from noise to image."""
        return {"tangents": torch.stack(self.outputs, dim=1)}
