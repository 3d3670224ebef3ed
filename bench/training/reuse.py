"""Reuse of a training that another run has finished, to measure its network with other settings.

The identity of a run includes the settings of the evaluation that are no columns of the results
(``SAME_FOR_ALL_ROWS``), because rows of different ones cannot be compared. No training depends on
them.
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
    """Copy the final checkpoint of a run with the same training to a folder without any.

    The checkpoint holds the weights and all measurements of the training. Only a finished training
    counts, and its checkpoint never changes again, so the other run may be at work on its
    evaluation meanwhile.

    Args:
        config: of the run.
        folder: of the run, locked.
        dataset: its data; those of the other run must have the same checksum.
        steps: of a finished training.

    Returns:
        The folder of the other run, or None without any.

    """
    if config.checkpoint or any((folder.path / name).exists() for name in NAMES):
        return None
    for path in sorted(folder.path.parent.glob("*/checkpoint.pt")):
        other = RunFolder(path.parent)
        try:
            if not _trained_alike(config, other, dataset):
                continue
            content = _finished(path, steps)
            if content is not None:
                write_bytes(folder.path / path.name, content)
                return other
        # An incomplete folder, or one that was removed meanwhile
        except (OSError, RunFolderError, KeyError):
            continue
    return None


def training_identity(identity: dict) -> dict:
    """The part of a run's identity that its training depends on."""
    return {key: value for key, value in identity.items() if key != "evaluation"}


def _trained_alike(config: RunConfig, other: RunFolder, dataset: Dataset) -> bool:
    alike = training_identity(other.config()) == training_identity(config.identity)
    # The name of a data set does not say which images it holds: users' folders change.
    return alike and other.provenance()["data_checksum"] == dataset.checksum


def _finished(path: Path, steps: int) -> bytes | None:
    """The content of a checkpoint if it is that of a finished training."""
    # Read once: the file that is checked and the bytes that are copied must be the same.
    content = path.read_bytes()
    try:
        step = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)["step"]
    except Exception as error:  # noqa: BLE001 - a damaged file fails in many ways
        tqdm.write(
            f"note: {path} cannot be read ({type(error).__name__}), so its training is not reused"
        )
        return None
    return content if step >= steps else None
