"""Weights & Biases, online or offline as ``WANDB_MODE`` says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from bench.training.trackers.contract import Tracker

PROJECT = "ot-couplings"  # unless WANDB_PROJECT names another


class WeightsAndBiases(Tracker):
    """A run of the project that ``WANDB_PROJECT`` names; a resumed one continues."""

    library: ClassVar[str] = "wandb"

    def __init__(self, folder: Path, run_id: str, options: Mapping[str, object], images: int):
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self._wandb = wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run_id,
            name=run_id,
            config=dict(options),
            dir=str(folder),
            resume="allow",
        )

    def values(self, values: Mapping[str, float], images: int) -> None:
        """Log values at a step, the number of images; earlier ones than the last are ignored."""
        self._run.log(dict(values), step=images)

    def picture(self, name: str, path: Path, images: int) -> None:
        """Log a picture."""
        self._run.log({name: self._wandb.Image(str(path))}, step=images)

    def close(self, failed: bool) -> None:
        """Upload what is left, and mark the run as finished or failed."""
        self._run.finish(exit_code=int(failed))
