"""The speed benchmark: settings of training and sampling in rotation."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bench.benchmarks import memory
from bench.benchmarks.settings import Cell
from bench.benchmarks.steps import Batches, Runner, start
from bench.config import ConfigError
from bench.pairs.pool import Pairs
from bench.record import provenance, write_bytes, write_json
from bench.suitable import refuse_unfit

if TYPE_CHECKING:
    from bench.benchmarks.settings import Command, Tally


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
        refuse_unfit(self.batches.config, self.batches.dataset())

    @property
    def steps(self) -> int:
        """How many times ``measure`` comes back."""
        return len(self.tallies) * (1 + self.command.rounds + self.command.sample_rounds)

    def measure(self) -> Iterator[str]:
        """Measure every setting, round by round, and say after each step what it was.

        The order moves on from round to round, so that none is always first. ``tallies`` hold all
        that was measured.
        """
        for tally in self.tallies:
            self._attempt(tally, self._warm_up)
            yield f"warm-up, {tally.setting.name}"
        for what, action, rounds in (
            ("training", self._train, self.command.rounds),
            ("sampling", self._sample, self.command.sample_rounds),
        ):
            for number in range(1, rounds + 1):
                pairs, first = self.batches.draw(number), number % len(self.tallies)
                for tally in [*self.tallies[first:], *self.tallies[:first]]:
                    if tally.setting.name in self.runners:
                        self._attempt(tally, action, pairs, number)
                    yield f"{what}, {tally.setting.name}"

    def _attempt(self, tally: Tally, action: Callable[..., None], *args: object) -> None:
        try:
            action(tally, *args)
        except RuntimeError as error:  # out of memory, or nothing to compile with
            self.runners.pop(tally.setting.name, None)
            tally.note = next(iter(str(error).strip().splitlines()), type(error).__name__)

    def _warm_up(self, tally: Tally) -> None:
        """Two steps, the first of which loads libraries and compiles, and the memory of the second."""
        runner = self.runners[tally.setting.name] = start(tally.setting, self.batches)
        tally.parameters = sum(weight.numel() for weight in runner.net.parameters())
        pairs = self.batches.draw(0)
        tally.first_step_s = seconds(self.batches.device, lambda: runner.train(pairs))
        runner.release_gradients()
        peak = peak_mb(self.batches.device, lambda: runner.train(pairs))
        runner.release_gradients()
        tally.train_mb = None if peak is None else peak + runner.kept_mb()

    def _train(self, tally: Tally, pairs: Pairs, number: int) -> None:
        runner = self.runners[tally.setting.name]
        tally.train[number] = seconds(self.batches.device, lambda: runner.train(pairs))
        runner.release_gradients()

    def _sample(self, tally: Tally, pairs: Pairs, number: int) -> None:
        runner = self.runners[tally.setting.name]
        if number == 1:  # to warm up
            runner.sample(pairs, 3)
        took = seconds(self.batches.device, lambda: runner.sample(pairs, self.command.nfe))
        tally.sample[number], tally.nfe = took, runner.nfe


def seconds(device: str, action: Callable[[], None]) -> float:
    """Wall time of an action, the device's work included."""
    _finish(device)
    start = time.perf_counter()
    action()
    _finish(device)
    return time.perf_counter() - start


def peak_mb(device: str, action: Callable[[], None]) -> float | None:
    """The most memory that an action held beside what was held before, in MB; None on a CPU without
    Linux and glibc.
    """
    if device.startswith("cuda"):
        _finish(device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        action()
        _finish(device)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    before = memory.reset_peak()
    action()
    return (memory.status("VmHWM") - before) / 1e6 if before is not None else None


def _finish(device: str) -> None:
    """Kernels run behind a GPU's back: wait for them."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def write_csv(path: Path, cells: Sequence[Cell]) -> None:
    """The table, atomically."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [f.name for f in fields(Cell)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(cell) for cell in cells)
    write_bytes(path, text.getvalue().encode())


def table(cells: Sequence[Cell]) -> str:
    """The cells as aligned text."""
    rows = [
        (
            "setting",
            "train img/s",
            "ratio",
            "step ms",
            "MB",
            "sample img/s",
            "NFE",
            "eval/s",
            "ratio",
            "",
        )
    ]
    for c in cells:
        numbers = (
            c.train_images_per_s, c.train_ratio, c.train_ms, c.train_mb,
            c.sample_images_per_s, c.nfe, c.evaluations_per_s, c.sample_ratio,
        )  # fmt: skip
        rows.append(
            (c.setting, *("" if value is None else f"{value:.4g}" for value in numbers), c.note)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(w) for word, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )  # fmt: skip


def save(contest: Contest, first: bool = False) -> list[Cell]:
    """Write speed.csv as it stands and, at first, speed.json: where its numbers come from.

    Raises:
        ConfigError: the folder cannot be written.

    """
    command, tallies = contest.command, contest.tallies
    config, device = contest.batches.config, contest.batches.device
    cells = [tally.cell(command, config, device, plain=tallies[0]) for tally in tallies]
    try:
        if first:
            origin = provenance(
                device, seed=config.seed, config=config.identity, images="random pixels"
            )
            write_json(command.out / "speed.json", origin)
        write_csv(command.out / "speed.csv", cells)
    except OSError as error:
        raise ConfigError(
            f"cannot write to {command.out} ({error.strerror}): choose another --out"
        ) from None
    return cells


def summary(cell: Cell) -> str:
    size = "" if cell.parameters is None else f", {cell.parameters / 1e6:.2f} M parameters"
    return (
        f"{cell.preset}: {cell.arch}{size}, random images {cell.image_shape}, batch {cell.batch},"
        f" {cell.device}"
    )
