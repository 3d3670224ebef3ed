"""The speed benchmark: settings of training and sampling in rotation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from bench.benchmarks import memory
from bench.benchmarks.rounds import rotated
from bench.benchmarks.settings import Cell, Command, Tally
from bench.benchmarks.steps import Batches, Runner, start
from bench.benchmarks.table import aligned, number
from bench.pairs.pool import Pairs
from bench.suitable import refuse_unfit


@dataclass
class Contest:
    """All settings at work on the same batches. One that raises keeps its numbers and takes no
    further round.

    Raises:
        ConfigError: the network cannot be built for these images.

    """

    command: Command
    batches: Batches
    tallies: Sequence[Tally]
    runners: dict[str, Runner] = field(default_factory=dict)

    def __post_init__(self):
        # Before the first step: a network that cannot be built is an error of the options.
        refuse_unfit(self.batches.config, self.batches.dataset())

    @property
    def steps(self) -> int:
        """Number of steps of ``measure``."""
        return len(self.tallies) * (1 + self.command.rounds + self.command.sample_rounds)

    def measure(self) -> Iterator[str]:
        """Measure every setting, round by round; yields a few words after each step.

        ``tallies`` hold all that was measured.
        """
        # All are warmed up before any is measured, so that no round includes a compilation.
        for tally in self.tallies:
            self._attempt(tally, self._warm_up)
            yield f"warm-up, {tally.setting.name}"
        yield from self._rounds("training", self._train, self.command.rounds)
        yield from self._rounds("sampling", self._sample, self.command.sample_rounds)

    def cells(self) -> list[Cell]:
        """The rows of the table as it stands."""
        preset = self.command.preset
        config = self.batches.config
        device = self.batches.device
        plain = self.tallies[0]
        return [tally.cell(preset, config, device, plain) for tally in self.tallies]

    def _rounds(self, title: str, action: Callable[..., None], rounds: int) -> Iterator[str]:
        for round_number, order in rotated(self.tallies, range(1, rounds + 1)):
            # One batch for all: ratios within a round compare the same work.
            pairs = self.batches.draw(round_number)
            for tally in order:
                # A setting that failed has no runner any more.
                if tally.setting.name in self.runners:
                    self._attempt(tally, action, pairs, round_number)
                yield f"{title}, {tally.setting.name}"

    def _attempt(self, tally: Tally, action: Callable[..., None], *args: object) -> None:
        try:
            action(tally, *args)
        # Out of memory, or no compiler: a row of the table says so.
        except RuntimeError as error:
            self.runners.pop(tally.setting.name, None)
            # The first line names the problem; CUDA adds pages of advice.
            lines = str(error).strip().splitlines()
            tally.note = lines[0] if lines else type(error).__name__

    def _warm_up(self, tally: Tally) -> None:
        """Two steps: the first loads libraries and compiles, the second shows the memory."""
        device = self.batches.device
        runner = start(tally.setting, self.batches)
        self.runners[tally.setting.name] = runner
        tally.parameters = sum(weight.numel() for weight in runner.net.parameters())
        pairs = self.batches.draw(0)
        tally.first_step_s = seconds(device, runner.train, pairs)
        runner.release_gradients()
        peak = peak_mb(device, runner.train, pairs)
        runner.release_gradients()
        # The peak is that of a step; what training keeps between steps was there before.
        if peak is not None:
            tally.train_mb = peak + runner.kept_mb()

    def _train(self, tally: Tally, pairs: Pairs, round_number: int) -> None:
        runner = self.runners[tally.setting.name]
        tally.train[round_number] = seconds(self.batches.device, runner.train, pairs)
        runner.release_gradients()

    def _sample(self, tally: Tally, pairs: Pairs, round_number: int) -> None:
        runner = self.runners[tally.setting.name]
        if round_number == 1:  # to warm up
            runner.sample(pairs, 3)
        took = seconds(self.batches.device, runner.sample, pairs, self.command.nfe)
        tally.sample[round_number] = took
        tally.nfe = runner.nfe


def seconds(device: str, action: Callable[..., object], *args: object) -> float:
    """Wall time of ``action(*args)``, the device's work included."""
    # Kernels of earlier work must not count here, nor those of this work later.
    _finish(device)
    begun = time.perf_counter()
    action(*args)
    _finish(device)
    return time.perf_counter() - begun


def peak_mb(device: str, action: Callable[..., object], *args: object) -> float | None:
    """The most memory that ``action(*args)`` held in addition to what was held before, in MB.

    None on a CPU without Linux and glibc.
    """
    if device.startswith("cuda"):
        _finish(device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        action(*args)
        _finish(device)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    held = memory.reset_peak()
    action(*args)
    return None if held is None else (memory.status("VmHWM") - held) / 1e6


def _finish(device: str) -> None:
    """Wait for the kernels of a GPU, which run asynchronously."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def as_text(cells: Sequence[Cell]) -> str:
    """The table for the terminal."""
    training = ("train img/s", "ratio", "step ms", "MB")
    sampling = ("sample img/s", "NFE", "eval/s", "ratio")
    rows: list[tuple[str, ...]] = [("setting", *training, *sampling, "")]
    for cell in cells:
        values = (
            cell.train_images_per_s,
            cell.train_ratio,
            cell.train_ms,
            cell.train_mb,
            cell.sample_images_per_s,
            cell.nfe,
            cell.evaluations_per_s,
            cell.sample_ratio,
        )
        numbers = [number(value, missing="") for value in values]
        rows.append((cell.setting, *numbers, cell.note))
    return aligned(rows)


def summary(cell: Cell) -> str:
    """The line above the table: the network, and what went through it."""
    size = ""
    if cell.parameters is not None:
        size = f", {cell.parameters / 1e6:.2f} M parameters"
    return (
        f"{cell.preset}: {cell.arch}{size}, random images {cell.image_shape}, batch {cell.batch},"
        f" {cell.device}"
    )
