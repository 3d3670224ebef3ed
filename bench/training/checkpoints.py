"""Checkpoints of a training in its run folder: the newest, and the one before it."""

from __future__ import annotations

import io
import os
import time

import torch
from tqdm import tqdm

from bench.pairs.stream import PairStream
from bench.process.signals import EndSignals
from bench.record import RunFolder, write_bytes
from bench.training.sharded import gathered
from bench.training.state import TrainingError, TrainState
from bench.training.trackers import Log

NAMES = ("checkpoint.pt", "checkpoint-previous.pt")  # the newest, and the one before it


class Keeper:
    """Saves the state of a training between two steps, and counts the seconds that it trains.

    Args:
        state: of the training.
        stream: of its pairs; the coupling may learn, so its state is saved too.
        folder: of the run; None on all processes but the first, which save nothing.
        end: the signals that announce the end of the process.
        log: of the run, closed before the process ends.
        batch: images of a step.

    """

    def __init__(
        self,
        state: TrainState,
        stream: PairStream,
        folder: RunFolder | None,
        end: EndSignals,
        log: Log,
        batch: int,
    ):
        self.state = state
        self.stream = stream
        self.folder = folder
        self.end = end
        self.log = log
        self.batch = batch
        self.saved_step = state.step
        self.clock = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the last checkpoint."""
        return time.perf_counter() - self.clock

    def save(self) -> None:
        """Save the state after the last step."""
        self.state.seconds += self.seconds
        self.state.coupling = self.stream.state
        content = self.state.content()
        if self.state.sharded:
            content = gathered(content, keep=self.folder is not None)
        if self.folder is not None:
            write_checkpoint(self.folder, content)
        # The seconds of saving are no seconds of training.
        self.saved_step = self.state.step
        self.clock = time.perf_counter()

    def leave_if_asked(self) -> None:
        """Save and end the process if a signal was noted while the training waits for a pool.

        No process is ahead of the first by a step then, so the first saves for all, without asking
        the others, which may be waiting too.
        """
        # Only all processes together have a sharded state: they save at the next check.
        if self.end.noted is None or self.state.sharded:
            return
        if self.state.step > self.saved_step:
            self.save()
        self.leave()

    def leave(self) -> None:
        """End the process if a signal was noted, after the last save.

        Returns if there was none, or if a handler of the calling program returns.
        """
        if self.end.noted is None:
            return
        if self.folder is not None:
            self.folder.mark_stopped()
        # No `finally` comes after a signal that ends the process.
        self.log.close(failed=True)
        self.end.deliver()
        self.log.begin(self.state.step * self.batch)
        if self.folder is not None:
            self.folder.set_status("running", stage="training")


def save_checkpoint(folder: RunFolder, state: TrainState) -> None:
    """Write the checkpoint of a whole state; see ``write_checkpoint``."""
    write_checkpoint(folder, state.content())


def write_checkpoint(folder: RunFolder, content: dict) -> None:
    """Write the checkpoint atomically; the one before it stays as checkpoint-previous.pt."""
    newest, previous = (folder.path / name for name in NAMES)
    # First: a state that cannot be serialised must not cost the newest checkpoint its name.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    if newest.exists():
        os.replace(newest, previous)
    write_bytes(newest, buffer.getvalue())


def load_checkpoint(folder: RunFolder, device: str) -> dict | None:
    """The newest checkpoint that can be read, or None without any.

    Raises:
        TrainingError: there are checkpoints and none can be read.

    """
    damaged = []
    for path in (folder.path / name for name in NAMES):
        if not path.exists():
            continue
        try:
            content = torch.load(path, map_location=device, weights_only=True)
        except Exception as error:  # noqa: BLE001 - a damaged file fails in many ways
            damaged.append(f"{path.name} ({type(error).__name__})")
            continue
        for name in damaged:
            tqdm.write(f"warning: {folder.path / name} cannot be read; resuming from {path.name}")
        return content
    if damaged:
        raise TrainingError(
            f"no checkpoint in {folder.run_id} can be read ({', '.join(damaged)}): restore one, or"
            " move the folder away"
        )
    return None
