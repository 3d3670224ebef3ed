"""A training that another run has finished is not done again: its network is measured under other
settings.

What a run is includes those settings of the evaluation that are no columns of the results
(``SAME_FOR_ALL_ROWS``), for rows of different ones cannot be compared. No training depends on them.
"""

from __future__ import annotations

import io
from pathlib import Path

import torch
from tqdm import tqdm

from bench.config import RunConfig
from bench.data import Dataset
from bench.record import RunFolder, RunFolderError, write_bytes
from bench.training.checkpoints import NAMES


def reuse_training(
    config: RunConfig, folder: RunFolder, dataset: Dataset, steps: int
) -> RunFolder | None:
    """Copy the final checkpoint of a run with the same training to a folder without any; None where
    there is none.

    The checkpoint holds the weights and all measurements of the training. Only a finished training
    counts, and its checkpoint never changes again, so the other run may be at work on its
    evaluation meanwhile.

    Args:
        config: of the run.
        folder: of the run, locked.
        dataset: its data; those of the other run must have the same checksum.
        steps: of a finished training.

    Returns:
        the folder of the other run.

    """
    if config.checkpoint or any((folder.path / name).exists() for name in NAMES):
        return None
    for path in sorted(folder.path.parent.glob("*/checkpoint.pt")):
        other = RunFolder(path.parent)
        try:
            if _trained_alike(config, other, dataset) and (content := _finished(path, steps)):
                write_bytes(folder.path / path.name, content)
                return other
        # An incomplete folder, or one that was removed meanwhile
        except (OSError, RunFolderError, KeyError):
            continue
    return None


def training_identity(identity: dict) -> dict:
    """What a training is, of what a run is: all but the settings of its evaluation."""
    return {key: value for key, value in identity.items() if key != "evaluation"}


def _trained_alike(config: RunConfig, other: RunFolder, dataset: Dataset) -> bool:
    alike = training_identity(other.config()) == training_identity(config.identity)
    return alike and other.provenance()["data_checksum"] == dataset.checksum


def _finished(path: Path, steps: int) -> bytes | None:
    """The content of a checkpoint if it is that of a finished training."""
    content = path.read_bytes()
    try:
        step = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["step"]
    except Exception as error:  # noqa: BLE001 - a damaged file fails in many ways
        tqdm.write(
            f"note: {path} cannot be read ({type(error).__name__}), so its training is not reused"
        )
        return None
    return content if step >= steps else None
