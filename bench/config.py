"""The configuration of a run: frozen dataclasses, filled by a preset, then by the command line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
import types
from dataclasses import asdict, dataclass, field, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from couplings import Coupling, DatasetCoupling

PRESETS = Path(__file__).parent / "presets"
Metrics = Literal["samples", "truncation", "grid", "paths"]
SAME_FOR_ALL_ROWS = ("reference_steps", "sigma_min", "sigma_max")  # settings of an evaluation that are no columns


class ConfigError(ValueError):
    """Bad input; the message is one line and names the way out."""


@dataclass(frozen=True)
class NetworkConfig:
    """The denoiser."""

    arch: Literal["small", "ddpmpp", "ncsnpp", "adm"] = "small"
    """Family of the U-Net."""
    model_channels: int = 32
    """Base width, in channels."""
    channel_mult: tuple[int, ...] = (1, 2)
    """Width of each level as a multiple of the base width, finest first."""
    num_blocks: int = 1
    """Residual blocks a level."""
    attn_resolutions: tuple[int, ...] = ()
    """Resolutions, in pixels, at which blocks attend."""
    dropout: float = 0.0
    """Dropout probability."""


@dataclass(frozen=True)
class TrainingConfig:
    """Training as in EDM (Karras et al. 2022)."""

    images: int = 200_000
    """Budget, in training images (each step takes one batch)."""
    pool: int = 1024
    """Pool: how many images and noises are coupled at once; a multiple of the batch."""
    pool_scope: Literal["rank", "global"] = "rank"
    """Couple each process's pool by itself, or those of all processes as one."""
    batch: int = 128
    """Images a step."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    lr_ramp: int = 10_000
    """Images over which the learning rate rises from 0."""
    ema_halflife: int = 10_000
    """Half-life of the weights' moving average, in images."""
    ema_rampup: float = 0.05
    """Early on the half-life is at most this fraction of the images seen so far."""
    P_mean: float = -1.2
    """Mean of ln sigma in training."""
    P_std: float = 1.2
    """Standard deviation of ln sigma in training."""
    conditional: bool = False
    """Give the network the class labels."""
    augment: float = 0.0
    """Probability of each of EDM's geometric augmentations; 0 leaves them out. CIFAR-10 in EDM: 0.12."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """What the network computes in while training; sampling is in float32. tf32 is for GPUs alone."""


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured after training; the same for every arm."""

    nfe: tuple[int, ...] = (3, 5, 7, 9, 13, 17, 27, 35)
    """Denoiser evaluations per image to sample with (odd: Heun takes 2 steps - 1)."""
    rho: float = 7.0
    """Exponent of the sigma schedule, fixed for all arms; 7 is EDM's."""
    rhos: tuple[float, ...] = (3.0, 5.0, 7.0, 9.0, 16.0, 27.0, 47.0, 81.0)
    """Exponents among which every arm finds its own best one for each number of evaluations."""
    grid_samples: int = 128
    """Images in each cell of that search; all metrics are then measured at the best one."""
    samplers: tuple[str, ...] = ("heun",)
    """Samplers at the fixed rho: heun, euler, dopri5 (adaptive, with its own evaluations; or dopri5:tolerance=1e-4)."""
    features: tuple[str, ...] = ()
    """What samples are measured in, such as inception:weights=FILE. Default: classifier and pixels."""
    metrics: tuple[Metrics, ...] = get_args(Metrics)
    """What is measured: samples (Frechet distances and the like), truncation (error against a dense solver), paths
    (curvature), grid (the search for the best rho)."""
    samples: int = 2000
    """Generated images behind each Frechet distance."""
    trajectories: int = 512
    """Latents behind curvature and truncation error."""
    reference_steps: int = 128
    """Steps of the dense Heun reference."""
    sigma_min: float = 0.002
    """Lowest noise level."""
    sigma_max: float = 80.0
    """Highest noise level."""


@dataclass(frozen=True)
class Execution:
    """How a run is carried out, which changes its numbers by rounding, and with dropout as another draw of it would."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    workers: int | None = None
    """Processes that couple pools beside the training; 0 does it in a thread of the trainer. Default: 1 where a GPU
    trains, else 0: on a CPU both share the cores."""
    micro_batch: int | None = None
    """Images that go through the network at once; the gradients of a batch's parts are added up. Default: the batch."""
    compile: bool = False
    """Compile the network with torch.compile: minutes at the start, quicker steps."""
    keep_samples: bool = False
    """Keep the generated images of the runs made now (RUN/samples/nfe*/). Default: they are removed once measured."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that affects the numbers of one run, and nothing else.

    What a run is (``identity``) leaves out those settings of its evaluation that are columns of the results: the same
    run can be measured again, with more of them.
    """

    data: str = "digits"
    coupling: str = "random"
    seed: int = 0
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    resolution: int | None = None
    checkpoint: str | None = None  # SHA-256 of the network file that is measured instead of training one

    @property
    def identity(self) -> dict:
        """What the run is, as nested dictionaries: stored in config.json."""
        content = json.loads(json.dumps(asdict(self)))
        content["evaluation"] = {key: content["evaluation"][key] for key in SAME_FOR_ALL_ROWS}
        return content

    @property
    def digest(self) -> str:
        """Ten hexadecimal digits of the SHA-256 of the identity's canonical JSON."""
        canonical = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:10]

    @property
    def run_id(self) -> str:
        """Folder name: what a person looks for first, then the hash of all of it."""
        coupling = "".join(c if c.isalnum() or c in "-.=" else "_" for c in self.coupling)
        pool = "" if self.checkpoint else f"-pool{self.training.pool}"
        return f"{self.data}-{coupling}{pool}-seed{self.seed}-{self.digest}"


def check(config: RunConfig) -> RunConfig:
    """Refuse a configuration that cannot run; return it with its coupling in canonical spelling.

    Raises:
        ConfigError: with one line naming the option and the way out.

    """
    from bench import data

    if config.data not in data.names():
        raise ConfigError(unknown("data set", config.data, data.names()))
    try:
        data.check_resolution(config.data, config.resolution)
    except data.DataError as error:
        raise ConfigError(str(error)) from None
    # A file's arm is called by the file; no coupling is trained with.
    coupling = config.coupling if config.checkpoint else _check_coupling(config)
    _check_ranges(config)
    _check_network(config.network)
    _check_evaluation(config.evaluation)
    samplers = tuple(dict.fromkeys(map(_canonical_sampler, config.evaluation.samplers)))
    evaluation = dataclasses.replace(config.evaluation, samplers=samplers)
    return dataclasses.replace(config, coupling=coupling, evaluation=evaluation)


def _check_coupling(config: RunConfig) -> str:
    """The canonical spec. In a conditional run noise must not depend on the label, as in sampling (AOT, Sec. 4.2)."""
    from couplings import CouplingError, get

    try:
        chosen = get(config.coupling)
        coupling = chosen.spec
    except CouplingError as error:
        raise ConfigError(str(error)) from None
    if config.training.conditional and coupling != "random" and not _keeps_classes_apart(chosen):
        raise ConfigError(
            f"--conditional with {coupling}: it ignores the labels, so noise would tell the class in training alone; "
            f"couple within classes ({_within_class(chosen)}), or leave --conditional out"
        )
    return coupling


def check_execution(execution: Execution, batch: int) -> None:
    """Refuse what cannot be carried out."""
    if execution.workers is not None and execution.workers < 0:
        raise ConfigError(f"--workers {execution.workers}: 0 or more")
    if execution.micro_batch is not None and not 0 < execution.micro_batch <= batch:
        raise ConfigError(f"--micro-batch {execution.micro_batch}: between 1 and the batch, {batch}")


def _check_ranges(config: RunConfig) -> None:
    training, evaluation = config.training, config.evaluation
    for key, value in _leaves(asdict(config)):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key} is {value}: it must be a finite number")
    if config.seed < 0:
        raise ConfigError(f"--seed {config.seed}: 0 or more")
    positive = {
        "--images": training.images, "--batch": training.batch, "--pool": training.pool,
        "--lr": training.lr, "--P-std": training.P_std,
        "--ema-halflife": training.ema_halflife,
        "--rho": evaluation.rho, "--sigma-min": evaluation.sigma_min,
        "--samples": evaluation.samples - 1, "--grid-samples": evaluation.grid_samples - 1,
        "--trajectories": evaluation.trajectories,
        "--num-blocks": config.network.num_blocks,
    }  # fmt: skip
    for option, value in positive.items():
        if not value > 0:
            raise ConfigError(f"{option} is too small: it must be above {1 if 'samples' in option else 0}")
    if training.pool < training.batch or training.pool % training.batch:
        raise ConfigError(
            f"--pool {training.pool} must be a multiple of --batch {training.batch}: "
            f"take {max(1, round(training.pool / training.batch)) * training.batch}"
        )
    if not 0 <= training.augment <= 1:
        raise ConfigError(f"--augment {training.augment}: a probability between 0 and 1")
    if not training.ema_rampup > 0:
        raise ConfigError(f"--ema-rampup {training.ema_rampup}: it must be above 0")


def _check_network(network: NetworkConfig) -> None:
    if not network.channel_mult:
        raise ConfigError("--channel-mult needs at least one number, such as 1")
    for mult in network.channel_mult:
        width = network.model_channels * mult
        if width < 4 or width % min(32, width // 4):
            raise ConfigError(
                f"--model-channels {network.model_channels} with --channel-mult {mult} gives {width} channels, "
                "which group norm cannot divide: take multiples of 32, or of 4 below 128"
            )
    if not 0 <= network.dropout < 1:
        raise ConfigError("--dropout must be in [0, 1)")


def _check_evaluation(evaluation: EvaluationConfig) -> None:
    if not evaluation.nfe:
        raise ConfigError("--nfe needs at least one number, such as 13")
    for nfe in evaluation.nfe:
        if nfe < 3 or nfe % 2 == 0:
            raise ConfigError(f"--nfe {nfe}: Heun takes 2 steps - 1 evaluations with 2 steps or more: 3, 5, 7, ...")
    least = max(evaluation.nfe) + 1
    if evaluation.reference_steps < least:
        raise ConfigError(
            f"--reference-steps {evaluation.reference_steps}: take {least} or more, twice the finest --nfe"
        )
    if not evaluation.sigma_max > evaluation.sigma_min:
        raise ConfigError("--sigma-max must be above --sigma-min")
    _check_schedules(evaluation)


def _canonical_sampler(sampler: str) -> str:
    """``heun``, ``euler`` or ``dopri5:tolerance=0.001``, as it stands in the results."""
    if sampler in ("heun", "euler"):
        return sampler
    word, _, value = sampler.partition(":tolerance=")
    if word != "dopri5":
        raise ConfigError(unknown("sampler", sampler, ("heun", "euler", "dopri5")))
    try:
        tolerance = float(value or "1e-3")
    except ValueError:
        tolerance = math.nan
    if not 0 < tolerance < 1:
        raise ConfigError(f"--samplers {sampler}: a tolerance between 0 and 1, such as dopri5:tolerance=1e-3")
    return f"dopri5:tolerance={tolerance:g}"


def _keeps_classes_apart(coupling: Coupling | DatasetCoupling) -> bool:
    option = "within_class" if coupling.kind == "batch" else "per_class"
    return coupling.uses_labels or getattr(coupling, option)


def _within_class(coupling: Coupling | DatasetCoupling) -> str:
    option = "within_class" if coupling.kind == "batch" else "per_class"
    return f"{coupling.spec}{',' if ':' in coupling.spec else ':'}{option}=true"


def _check_schedules(evaluation: EvaluationConfig) -> None:
    """Refuse a schedule whose levels coincide now rather than after the training."""
    from models.schedule import heun_steps, karras_sigmas

    for rho in (evaluation.rho, *evaluation.rhos):
        for steps in (*map(heun_steps, evaluation.nfe), evaluation.reference_steps):
            try:
                karras_sigmas(steps, rho, evaluation.sigma_min, evaluation.sigma_max)
            except ValueError as error:
                raise ConfigError(f"--rho {rho}: {error}") from None


def _leaves(node: dict, prefix: str = "--") -> list[tuple[str, object]]:
    """Option name and value of every field."""
    found = []
    for key, value in node.items():
        found += _leaves(value) if isinstance(value, dict) else [(prefix + key.replace("_", "-"), value)]
    return found


def unknown(what: str, word: str, known: tuple[str, ...]) -> str:
    """One line for a word that is not known, with the nearest one and the whole list."""
    near = get_close_matches(word, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {word!r}.{hint} Known: {', '.join(known)}"


def presets() -> tuple[str, ...]:
    """Names of the presets."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def make(preset: str | None = None, overrides: dict[str, object] | None = None) -> RunConfig:
    """Build a checked RunConfig: dataclass defaults, then the preset, then ``overrides``.

    Override keys are dotted (``training.lr``) or the bare name of a field that is found in one place only (``lr``).
    Without ``preset`` the one named like the data set is taken where there is one.

    Raises:
        ConfigError: an unknown preset or key, or a value out of range.

    """
    return check(_apply(load_preset(preset, str((overrides or {}).get("data", "digits"))), overrides or {}))


def load_preset(preset: str | None, data: str = "digits") -> RunConfig:
    """The configuration of a preset, unchecked; with None, of the data set's own preset if it has one."""
    base = RunConfig(data=data)
    if preset is None and data not in presets():
        return base
    name = preset or data
    if name not in presets():
        raise ConfigError(unknown("preset", name, presets()))
    content = tomllib.loads((PRESETS / f"{name}.toml").read_text())
    return from_dict(content)


def from_dict(content: dict) -> RunConfig:
    """The configuration, unchecked, of nested dictionaries such as ``RunConfig.identity``; what is left out is default.

    Raises:
        ConfigError: an unknown key, or a value of another type.

    """
    return _apply(RunConfig(), _flat(content))


def _flat(table: dict, prefix: str = "") -> dict[str, object]:
    flat = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _field_types(cls: type, prefix: str = "") -> dict[str, Any]:
    """Type of every leaf field by its dotted key."""
    types_ = {}
    for key, hint in get_type_hints(cls).items():
        types_ |= _field_types(hint, f"{prefix}{key}.") if is_dataclass(hint) else {prefix + key: hint}
    return types_


def _apply(config: RunConfig, overrides: dict[str, object]) -> RunConfig:
    types_ = _field_types(RunConfig)
    for key, value in overrides.items():
        matches = [full for full in types_ if key in (full, full.rsplit(".", 1)[-1])]
        if len(matches) != 1:
            raise ConfigError(unknown("option", key, tuple(types_)))
        config = _replace(config, matches[0].split("."), _convert(value, types_[matches[0]], matches[0]))
    return config


def _replace(node: Any, path: list[str], value: object) -> Any:
    head, *rest = path
    return dataclasses.replace(node, **{head: _replace(getattr(node, head), rest, value) if rest else value})


def _convert(value: object, hint: Any, key: str) -> object:
    """Check a value from TOML against a field's type; lists become tuples and whole numbers floats where due."""
    if get_origin(hint) in (Union, types.UnionType):
        if value is None:
            return None
        hint = next(arg for arg in get_args(hint) if arg is not type(None))
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise ConfigError(f"{key} must be one of {', '.join(map(str, get_args(hint)))}, not {value!r}")
    if get_origin(hint) is tuple:
        if isinstance(value, list | tuple):
            return tuple(_convert(item, get_args(hint)[0], key) for item in value)
        raise ConfigError(f"{key} must be a list, not {value!r}")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{key} must be of type {hint.__name__}, not {value!r}")
    return value
