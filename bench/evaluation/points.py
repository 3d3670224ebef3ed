"""Generated points in the plane, saved as CSV for a figure."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bench.record import write_bytes

MOST = 400  # points show a distribution; more would fill the page
REAL = "real"
"""Name of the file that holds points of the data."""


def save_points(path: Path, points: Tensor) -> None:
    """Write the first ``MOST`` of ``points [n, 2, 1, 1]`` as CSV with the columns x and y."""
    rows = [f"{x:.4g},{y:.4g}" for x, y in points[:MOST].flatten(1).double().tolist()]
    write_bytes(path, "\n".join(["x,y", *rows, ""]).encode())
