"""The training curve: the loss, and the denoising error by noise level, over the images seen.

It is a record only: it draws no random numbers and takes no part in any gradient.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.record import write_bytes

FILE = "training.csv"
EDGES = (0.1, 0.3, 1.0, 3.0)  # noise levels between the bins
LEVELS = ("sigma < 0.1", "sigma 0.1 to 0.3", "sigma 0.3 to 1", "sigma 1 to 3", "sigma > 3")
EVERY = 10  # steps, of which one is looked at by noise level: which costs almost nothing
MOST_ROWS = 200  # of the file, so that a long training is no larger than a short one

Entry = dict[str, float]
"""``images`` seen, the mean ``loss`` since the last entry, and the mean error by level, if any."""


class Watch:
    """A denoiser that remembers its last output, for the error by noise level.

    Args:
        denoise: called with x, sigma and labels.

    """

    def __init__(self, denoise: Callable[..., Tensor]):
        self.denoise = denoise
        self.output: Tensor | None = None

    def __call__(self, *args: Any) -> Tensor:
        """Denoise, and keep the output without its graph."""
        output = self.denoise(*args)
        self.output = output.detach()
        return output

    def __getattr__(self, name: str) -> Any:
        """Whatever else an objective asks of its network."""
        return getattr(self.denoise, name)


def new_sums(device: str = "cpu") -> Tensor:
    """Sums ``[2, levels]`` without any image: of the errors, and their number."""
    return torch.zeros(2, len(LEVELS), device=device)


@torch.no_grad()
def add_errors(sums: Tensor, denoised: Tensor, target: Tensor, sigma: Tensor) -> None:
    """Add the squared errors per pixel of images ``[n, c, h, w]`` at sigma ``[n]`` to the sums."""
    errors = (denoised.float() - target).square().flatten(1).mean(1)
    bins = torch.zeros_like(sigma, dtype=torch.long)
    # Edge by edge: a tensor of edges would be copied to the GPU, which the trainer would wait for.
    for edge in EDGES:
        bins += sigma > edge
    # A stray overflow must not spoil the mean of its level. It counts as 0, because
    # leaving it out by an index would make the trainer wait for the GPU.
    finite = errors.isfinite()
    sums[0].index_add_(0, bins, torch.where(finite, errors, 0.0))
    sums[1].index_add_(0, bins, finite.float())


def means(sums: Tensor) -> Entry:
    """Mean error by level, for the levels that any image had."""
    totals, counts = sums.tolist()
    found = {}
    for level, total, count in zip(LEVELS, totals, counts, strict=True):
        if count:
            found[level] = total / count
    return found


def write_curve(path: Path, history: Sequence[Entry]) -> None:
    """Write the entries as CSV, neighbours averaged to at most ``MOST_ROWS`` rows."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = ["images", "loss", *LEVELS]
    writer.writerow(columns)
    # Every row is a mean over equally many entries but the last, which may be of fewer.
    size = max(1, math.ceil(len(history) / MOST_ROWS))
    for first in range(0, len(history), size):
        row = _averaged(history[first : first + size])
        cells = [f"{row[name]:.6g}" if name in row else "" for name in columns[1:]]
        writer.writerow([int(row["images"]), *cells])
    write_bytes(path, buffer.getvalue().encode())


def _averaged(entries: Sequence[Entry]) -> Entry:
    """The means of some entries, at the images of the last one."""
    found = {}
    for name in ("loss", *LEVELS):
        # Checkpoints of earlier versions have no levels, and a level may have had no image.
        values = [entry[name] for entry in entries if name in entry]
        if values:
            found[name] = sum(values) / len(values)
    return {**found, "images": entries[-1]["images"]}
