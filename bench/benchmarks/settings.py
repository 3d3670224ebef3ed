"""What the speed benchmark is asked for: its command, its settings and their tallies."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bench.check import check
from bench.config import ConfigError, NetworkConfig, RunConfig, load_preset

PRESET = "cifar10-small"
PLAIN = "plain float32"
# Channels, height, width and classes. The user's own images, of any size, are stood for by 3x32x32
# without labels.
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
    """Denoiser evaluations per sample of Heun's method. Fewer, such as 3, are quicker to measure;
    the evaluations a second stay about the same.
    """
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    compile: bool = False
    """Measure each setting of the trainer with torch.compile too. Compiling takes minutes a setting
    on a CPU, where it needs a C++ compiler.
    """
    out: Path = Path("runs/speed")
    """Folder that receives speed.csv and speed.json (hardware, versions, command)."""
    network: Annotated[NetworkConfig, tyro.conf.OmitArgPrefixes] = field(
        default_factory=NetworkConfig
    )

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
            raise ConfigError(
                f"the image shape of {base.data} is not known here: take a preset of"
                f" {', '.join(DATA)}"
            )
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
    precisions = (
        ("float32", "bfloat16", "tf32") if device.startswith("cuda") else ("float32", "bfloat16")
    )
    ours = [Setting(name, name) for name in precisions]
    if compiled:
        ours += [Setting(f"{s.name} compiled", s.precision, compiled=True) for s in ours]
    return [Setting(PLAIN, plain=True), *ours]


@dataclass(frozen=True)
class Cell:
    """One row of speed.csv: a setting. What was not measured is None.

    Attributes: setting, precision, compiled: what the row is of. preset, arch, parameters,
        image_shape, batch, device: the network, and what went through it. rounds: training steps
        behind the numbers. train_ms: median time of a step, in ms: forward, backward, Adam and
        moving average. train_images_per_s: batch over that median. train_ratio: how often faster
        than the plain loop: median over the rounds of the quotient in each round. train_mb: most
        memory that training held, in MB: weights, average, Adam's two averages, and the peak of a
        step. first_step_s: what the first step took, compiling included. sample_rounds, nfe:
        batches of samples behind the numbers, and denoiser evaluations counted for each.
        sample_images_per_s: finished images at that NFE. evaluations_per_s: denoiser evaluations,
        one image each, in the same time. sample_ratio: how often faster than the plain loop. note:
        why there are no numbers.

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
            numbers |= {
                "nfe": self.nfe,
                "sample_images_per_s": speed,
                "evaluations_per_s": speed * self.nfe,
            }
        return Cell(
            self.setting.name, self.setting.precision, self.setting.compiled, command.preset, config.network.arch,
            self.parameters, "x".join(map(str, shape)), batch, device, len(self.train), train_mb=self.train_mb,
            first_step_s=self.first_step_s, train_ratio=ratio(plain.train, self.train), sample_rounds=len(self.sample),
            sample_ratio=ratio(plain.sample, self.sample), note=self.note, **numbers,
        )  # fmt: skip


def ratio(reference: dict[int, float], seconds: dict[int, float]) -> float | None:
    """Median over the rounds that both took of reference time over time; None where there is no
    such round.
    """
    quotients = [
        reference[number] / seconds[number] for number in reference.keys() & seconds.keys()
    ]
    return statistics.median(quotients) if quotients else None
