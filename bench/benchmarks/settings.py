"""The speed benchmark's command, its settings and their tallies."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bench.check import check
from bench.config import ConfigError, NetworkConfig, RunConfig, load_preset

Precision = Literal["float32", "tf32", "bfloat16"]
PRESET = "cifar10-small"
PLAIN = "plain float32"
# The user's own images may have any size; these dimensions stand for them, without labels.
STAND_IN = ((3, 32, 32), 1)


def shape_of(name: str) -> tuple[tuple[int, int, int], int]:
    """Image shape (channels, height, width) and classes of a data set, without its files.

    Raises:
        bench.data.DataError: its file does not state them.

    """
    # Data sets import torch; the command line must not wait for it.
    from bench import data

    shape, classes = data.stated(name)
    # Speed depends on the size of images only, not on what they show.
    if shape is None or classes is None:
        return STAND_IN
    channels, height, width = shape
    return (channels, height, width), classes


@dataclass(frozen=True)
class Command:
    """The network, the numbers of rounds, and the place of the results."""

    preset: str = PRESET
    """Preset (bench/presets/NAME.toml) whose network, batch and image shape are taken."""
    batch: int | None = None
    """Images per step, and images sampled at once. Default: the preset's on a GPU, 32 on a CPU."""
    rounds: int = 10
    """Measured training steps of each setting, after two warm-up steps."""
    sample_rounds: int = 2
    """Measured batches of samples of each setting, after one to warm up; 0 skips sampling."""
    nfe: int = 35
    """Denoiser evaluations per sample of Heun's method. Fewer, such as 3, are faster to measure;
    the evaluations per second stay about the same.
    """
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on; auto takes a GPU if there is one."""
    compile: bool = False
    """Measure each setting of the trainer with torch.compile too. On a CPU compiling takes minutes
    per setting and needs a C++ compiler.
    """
    out: Path = Path("runs/speed")
    """Folder that receives speed.csv and speed.json (hardware, versions, command)."""
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def config(self, device: str) -> RunConfig:
        """The checked configuration that all settings share; their precision is set later.

        Raises:
            ConfigError: with one line that names the way out.

        """
        from models.samplers.heun import heun_steps

        _at_least("--batch", 1 if self.batch is None else self.batch, 1)
        _at_least("--rounds", self.rounds, 1)
        _at_least("--sample-rounds", self.sample_rounds, 0)
        # Sampling is Heun's method, of which not every number of evaluations is possible.
        try:
            heun_steps(self.nfe)
        except ValueError as error:
            raise ConfigError(f"--nfe {error}") from None
        base = load_preset(self.preset)
        # A CPU would take minutes a step with the batch of a GPU.
        batch = self.batch or (32 if device == "cpu" else base.training.batch)
        # Nothing is coupled here: the pool only has to pass the checks.
        training = replace(base.training, batch=batch, pool=batch)
        return check(replace(base, network=self.network, training=training))


def _at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{option} {value}: {least} or more")


@dataclass(frozen=True)
class Setting:
    """One way to train and sample the network; ``plain`` is the reference."""

    name: str
    precision: Precision = "float32"
    plain: bool = False
    compiled: bool = False


def settings(device: str, compiled: bool) -> list[Setting]:
    """Settings that a device can compute: the reference first, compiled ones last."""
    # TF32 is a format of NVIDIA's matrix units; a CPU computes float32 instead.
    precisions: list[Precision] = ["float32", "bfloat16"]
    if device.startswith("cuda"):
        precisions.append("tf32")
    trainers = [Setting(name, name) for name in precisions]
    if compiled:
        trainers += [replace(s, name=f"{s.name} compiled", compiled=True) for s in trainers]
    return [Setting(PLAIN, plain=True), *trainers]


@dataclass(frozen=True)
class Cell:
    """One row of speed.csv: a setting. A value that was not measured is None.

    Attributes:
        setting: its name.
        precision: of the network's products.
        compiled: True with torch.compile.
        preset: whose network it is.
        arch: family of the network.
        parameters: their number.
        image_shape: channels x height x width.
        batch: images a step.
        device: that computed.
        rounds: training steps that the numbers are from.
        train_ms: median time of a step, in ms: forward, backward, Adam and moving average.
        train_images_per_s: batch over that median.
        train_ratio: speed relative to the plain loop: median over the rounds of the quotient in
            each round.
        train_mb: most memory that training held, in MB: weights, average, Adam's two averages, and
            the peak of a step.
        first_step_s: seconds of the first step, compiling included.
        sample_rounds: batches of samples that the numbers are from.
        nfe: denoiser evaluations counted for each of them.
        sample_images_per_s: finished images at that NFE.
        evaluations_per_s: denoiser evaluations, one image each, in the same time.
        sample_ratio: speed of sampling relative to the plain loop.
        note: the reason why there are no numbers.

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

    def cell(self, preset: str, config: RunConfig, device: str, plain: Tally) -> Cell:
        """The row of the table; ``plain`` is the reference."""
        shape, _ = shape_of(config.data)
        batch = config.training.batch
        numbers: dict[str, Any] = {}
        # Medians: one round in which the machine was busy must not count.
        if self.train:
            seconds = statistics.median(self.train.values())
            numbers["train_ms"] = 1000 * seconds
            numbers["train_images_per_s"] = batch / seconds
        if self.sample:
            images_per_s = batch / statistics.median(self.sample.values())
            numbers["nfe"] = self.nfe
            numbers["sample_images_per_s"] = images_per_s
            numbers["evaluations_per_s"] = images_per_s * self.nfe
        return Cell(
            setting=self.setting.name,
            precision=self.setting.precision,
            compiled=self.setting.compiled,
            preset=preset,
            arch=config.network.arch,
            parameters=self.parameters,
            image_shape="x".join(map(str, shape)),
            batch=batch,
            device=device,
            rounds=len(self.train),
            train_mb=self.train_mb,
            first_step_s=self.first_step_s,
            train_ratio=ratio(plain.train, self.train),
            sample_rounds=len(self.sample),
            sample_ratio=ratio(plain.sample, self.sample),
            note=self.note,
            **numbers,
        )


def ratio(reference: dict[int, float], seconds: dict[int, float]) -> float | None:
    """Median over the rounds that both took of reference time over time; None without any.

    Quotients are taken round by round, so that drifts of the machine cancel.
    """
    # A setting that failed half-way has fewer rounds than the reference.
    common = reference.keys() & seconds.keys()
    quotients = [reference[number] / seconds[number] for number in common]
    return statistics.median(quotients) if quotients else None
