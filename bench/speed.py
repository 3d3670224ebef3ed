"""The speed benchmark: ``python -m bench.speed``. What a training step and a sample cost, beside a plain float32 loop.

All settings take their step on the same batch, round by round, in one process: noise of the machine hits all alike,
so the ratios between them say more than the images per second.
"""

from __future__ import annotations

import argparse
import csv
import io
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bench.check import check
from bench.config import ConfigError, NetworkConfig, RunConfig, load_preset
from bench.console import worker
from bench.defaults import plain_torch
from bench.record import provenance, write_bytes, write_json

if TYPE_CHECKING:
    from bench.runners import Contest

PRESET = "cifar10-small"
PLAIN = "plain float32"
DESCRIPTION = """Measure training and sampling, in images a second, and their memory, setting by setting.

The first row, "plain float32", is the reference: the same network in a straightforward loop (contiguous float32, Adam
and the weights' moving average one tensor after the other). The others are the trainer of bench.run in float32, in
bfloat16 and, on a GPU, in TF32. bench.run samples in float32 alone; the other rows say what their precision would take.

Images are random pixels in the shape of the preset's data: speed does not depend on them, so nothing is read or
downloaded. Loading, augmentation and coupling are left out (for couplings: bench.solve).

Examples:
  python -m bench.speed                  about five minutes on two CPU cores
  python -m bench.speed --preset cifar10-edm --batch 8 --sample-rounds 0
  python -m bench.speed --device cuda --compile
"""
# Channels, height, width and classes. The user's own images, of any size, are stood for by 3x32x32 without labels.
DATA = {
    "cifar10": (3, 32, 32, 10),
    "digits": (1, 8, 8, 10),
    "eight-gaussians": (2, 1, 1, 8),
    "fashion-mnist": (1, 32, 32, 10),
    "fashion-mnist-16": (1, 16, 16, 10),
    "image-folder": (3, 32, 32, 1),
    "image-zip": (3, 32, 32, 1),
    "moons": (2, 1, 1, 2),
}


@dataclass(frozen=True)
class Command:
    """What is measured."""

    preset: str = PRESET
    """Preset (bench/presets/NAME.toml) whose network, batch and image shape are taken."""
    batch: int | None = None
    """Images a step, and images sampled at once. Default: the preset's on a GPU, 32 on a CPU."""
    rounds: int = 10
    """Measured training steps of each setting, after two to warm up."""
    sample_rounds: int = 2
    """Measured batches of samples of each setting, after one to warm up; 0 leaves sampling out."""
    nfe: int = 35
    """Denoiser evaluations per sample of Heun's method. Fewer, such as 3, are quicker to measure; the evaluations a
    second stay about the same."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    compile: bool = False
    """Measure each setting of the trainer with torch.compile too. Compiling takes minutes a setting on a CPU, where it
    needs a C++ compiler."""
    out: Path = Path("runs/speed")
    """Folder that receives speed.csv and speed.json (hardware, versions, command)."""
    network: Annotated[NetworkConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=NetworkConfig)

    def config(self, device: str) -> RunConfig:
        """The checked configuration that all settings share; their precision is set later.

        Raises:
            ConfigError: with one line that names the way out.

        """
        from models.schedule import heun_steps

        for option, value, least in (
            ("--batch", 1 if self.batch is None else self.batch, 1),
            ("--rounds", self.rounds, 1),
            ("--sample-rounds", self.sample_rounds, 0),
        ):
            if value < least:
                raise ConfigError(f"{option} {value}: {least} or more")
        try:
            heun_steps(self.nfe)
        except ValueError as error:
            raise ConfigError(f"--nfe {error}") from None
        base = load_preset(self.preset)
        if base.data not in DATA:
            raise ConfigError(f"the image shape of {base.data} is not known here: take a preset of {', '.join(DATA)}")
        batch = self.batch or (32 if device == "cpu" else base.training.batch)
        training = replace(base.training, batch=batch, pool=batch)
        return check(replace(base, network=self.network, training=training))


@dataclass(frozen=True)
class Setting:
    """How the network is trained and sampled; ``plain`` is the reference."""

    name: str
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    plain: bool = False
    compiled: bool = False


def settings(device: str, compiled: bool) -> list[Setting]:
    """What is measured on a device, the reference first; compiled ones last, if they are wanted."""
    precisions = ("float32", "bfloat16", "tf32") if device.startswith("cuda") else ("float32", "bfloat16")
    ours = [Setting(name, name) for name in precisions]
    if compiled:
        ours += [Setting(f"{s.name} compiled", s.precision, compiled=True) for s in ours]
    return [Setting(PLAIN, plain=True), *ours]


@dataclass(frozen=True)
class Cell:
    """One row of speed.csv: a setting. What was not measured is None.

    Attributes:
        setting, precision, compiled: what the row is of.
        preset, arch, parameters, image_shape, batch, device: the network, and what went through it.
        rounds: training steps behind the numbers.
        train_ms: median time of a step, in ms: forward, backward, Adam and moving average.
        train_images_per_s: batch over that median.
        train_ratio: how often faster than the plain loop: median over the rounds of the quotient in each round.
        train_mb: most memory that training held, in MB: weights, average, Adam's two averages, and the peak of a step.
        first_step_s: what the first step took, compiling included.
        sample_rounds, nfe: batches of samples behind the numbers, and denoiser evaluations counted for each.
        sample_images_per_s: finished images at that NFE.
        evaluations_per_s: denoiser evaluations, one image each, in the same time.
        sample_ratio: how often faster than the plain loop.
        note: why there are no numbers.

    """

    setting: str
    precision: str
    compiled: bool
    preset: str
    arch: str
    parameters: int | None
    image_shape: str
    batch: int
    device: str
    rounds: int
    train_ms: float | None = None
    train_images_per_s: float | None = None
    train_ratio: float | None = None
    train_mb: float | None = None
    first_step_s: float | None = None
    sample_rounds: int = 0
    nfe: int | None = None
    sample_images_per_s: float | None = None
    evaluations_per_s: float | None = None
    sample_ratio: float | None = None
    note: str = ""


@dataclass
class Tally:
    """The measurements of one setting as they come in: seconds by the number of the round."""

    setting: Setting
    train: dict[int, float] = field(default_factory=dict)
    sample: dict[int, float] = field(default_factory=dict)
    parameters: int | None = None
    train_mb: float | None = None
    first_step_s: float | None = None
    nfe: int | None = None
    note: str = ""

    def cell(self, command: Command, config: RunConfig, device: str, plain: Tally) -> Cell:
        """The row of the table; ``plain`` is the reference."""
        shape, batch = DATA[config.data][:3], config.training.batch
        numbers = {}
        if self.train:
            seconds = statistics.median(self.train.values())
            numbers |= {"train_ms": 1000 * seconds, "train_images_per_s": batch / seconds}
        if self.sample:
            speed = batch / statistics.median(self.sample.values())
            numbers |= {"nfe": self.nfe, "sample_images_per_s": speed, "evaluations_per_s": speed * self.nfe}
        return Cell(
            self.setting.name, self.setting.precision, self.setting.compiled, command.preset, config.network.arch,
            self.parameters, "x".join(map(str, shape)), batch, device, len(self.train), train_mb=self.train_mb,
            first_step_s=self.first_step_s, train_ratio=ratio(plain.train, self.train), sample_rounds=len(self.sample),
            sample_ratio=ratio(plain.sample, self.sample), note=self.note, **numbers,
        )  # fmt: skip


def ratio(reference: dict[int, float], seconds: dict[int, float]) -> float | None:
    """Median over the rounds that both took of reference time over time; None where there is no such round."""
    quotients = [reference[number] / seconds[number] for number in reference.keys() & seconds.keys()]
    return statistics.median(quotients) if quotients else None


def write_csv(path: Path, cells: Sequence[Cell]) -> None:
    """The table, atomically."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [f.name for f in fields(Cell)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(cell) for cell in cells)
    write_bytes(path, text.getvalue().encode())


def table(cells: Sequence[Cell]) -> str:
    """The cells as aligned text."""
    rows = [("setting", "train img/s", "ratio", "step ms", "MB", "sample img/s", "NFE", "eval/s", "ratio", "")]
    for c in cells:
        numbers = (
            c.train_images_per_s, c.train_ratio, c.train_ms, c.train_mb,
            c.sample_images_per_s, c.nfe, c.evaluations_per_s, c.sample_ratio,
        )  # fmt: skip
        rows.append((c.setting, *("" if value is None else f"{value:.4g}" for value in numbers), c.note))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(w) for word, w in zip(row, widths, strict=True)).rstrip() for row in rows
    )  # fmt: skip


def parse(args: list[str]) -> Command:
    """Read the command line; --preset chooses the defaults of the network."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", nargs="?", default=PRESET)
    preset = early.parse_known_args(args)[0].preset or PRESET
    return tyro.cli(
        Command,
        prog="python -m bench.speed",
        description=DESCRIPTION,
        args=args,
        default=Command(preset, network=load_preset(preset).network),
        config=(tyro.conf.FlagCreatePairsOff,),
    )


@plain_torch()
def run(command: Command) -> int:
    """Measure, keeping speed.csv up to date, and print the table; 130 where Ctrl-C ended it, 1 where nothing ran."""
    from tqdm import tqdm

    from bench.ranks import join
    from bench.runners import Batches, Contest

    device = join(command.device).device
    config = command.config(device)
    *shape, classes = DATA[config.data]
    tallies = [Tally(setting) for setting in settings(device, command.compile)]
    contest = Contest(command, Batches(config, tuple(shape), classes, device), tallies)
    code = 0
    save(contest, first=True)
    try:
        with tqdm(total=contest.steps, desc="speed", unit="step", disable=None) as bar:
            for step in contest.measure():
                save(contest)
                bar.set_postfix_str(step)
                bar.update()
    except KeyboardInterrupt:
        print("stopped; what was measured is kept", file=sys.stderr)
        code = 130
    cells = save(contest)
    print(f"{_what(cells[0])}\n\n{table(cells)}\n\nresults: {command.out / 'speed.csv'}")
    return code or int(not any(cell.rounds for cell in cells))


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
            origin = provenance(device, seed=config.seed, config=config.identity, images="random pixels")
            write_json(command.out / "speed.json", origin)
        write_csv(command.out / "speed.csv", cells)
    except OSError as error:
        raise ConfigError(f"cannot write to {command.out} ({error.strerror}): choose another --out") from None
    return cells


def _what(cell: Cell) -> str:
    size = "" if cell.parameters is None else f", {cell.parameters / 1e6:.2f} M parameters"
    return f"{cell.preset}: {cell.arch}{size}, random images {cell.image_shape}, batch {cell.batch}, {cell.device}"


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    try:
        return run(parse(sys.argv[1:] if args is None else args))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(worker(main))
