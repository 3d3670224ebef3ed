"""TensorBoard: ``tensorboard --logdir runs/tensorboard``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from bench.training.trackers.contract import Tracker


class TensorBoard(Tracker):
    """Event files in a folder of the run's name."""

    library: ClassVar[str] = "tensorboard"

    def __init__(self, folder: Path, run_id: str, options: Mapping[str, object], images: int):
        from torch.utils.tensorboard import SummaryWriter

        # Values after the checkpoint come again and would be drawn twice.
        purge = images + 1 if images else None
        self._writer = SummaryWriter(str(folder / run_id), purge_step=purge)
        if not images:
            rows = [f"| {key} | {value} |" for key, value in options.items()]
            table = "\n".join(["| option | value |", "| --- | --- |", *rows])
            self._writer.add_text("options", table)

    def values(self, values: Mapping[str, float], images: int) -> None:
        """Add a point to the curve of each value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, images)

    def picture(self, name: str, path: Path, images: int) -> None:
        """Add a picture ``[h, w, 3]``."""
        import numpy as np
        from PIL import Image

        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self._writer.add_image(name, pixels, images, dataformats="HWC")

    def close(self, failed: bool) -> None:
        """Write the events that are still in memory."""
        self._writer.close()
