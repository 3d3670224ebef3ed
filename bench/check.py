"""What a configuration must be to run; whatever is wrong with it is said before anything is begun."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from bench.config import ConfigError, EvaluationConfig, Execution, NetworkConfig, RunConfig, unknown
from bench.config.guidance import GuidanceConfig, check_ranges
from bench.config.read import apply, load_preset
from bench.record import LARGEST

if TYPE_CHECKING:
    from bench.data import Dataset
    from couplings import Coupling, DatasetCoupling


def check(config: RunConfig) -> RunConfig:
    """Refuse a configuration that cannot run; return it with its coupling in canonical spelling.

    Raises:
        ConfigError: with one line naming the option and the way out.

    """
    from bench import data

    try:
        data.find(config.data)
    except data.DataError as error:
        raise ConfigError(str(error)) from None
    try:
        data.check_resolution(config.data, config.resolution)
    except data.DataError as error:
        raise ConfigError(str(error)) from None
    # A file's arm is called by the file; no coupling is trained with.
    coupling = config.coupling if config.checkpoint else _check_coupling(config)
    _check_ranges(config)
    _check_network(config.network)
    _check_evaluation(config.evaluation)
    _check_features(config.evaluation.features)
    evaluation = _canonical_evaluation(config.evaluation)
    # Nothing is asked for, so no law makes another run
    if not (config.training.conditional or config.checkpoint):
        evaluation = dataclasses.replace(evaluation, class_law=EvaluationConfig.class_law)
    guidance = check_guidance(
        config.guidance, "random" if config.checkpoint else coupling, config.training.conditional
    )
    return dataclasses.replace(config, coupling=coupling, evaluation=evaluation, guidance=guidance)


def _canonical_evaluation(evaluation: EvaluationConfig) -> EvaluationConfig:
    """Samplers and starts in canonical spelling, and nothing twice: it would be measured twice."""
    given = {
        key: getattr(evaluation, key) for key in ("nfe", "rhos", "features", "metrics", "start_nfe")
    }
    given["samplers"] = map(_canonical_sampler, evaluation.samplers)
    given["start"] = (_canonical_start(start, evaluation) for start in evaluation.start)
    return dataclasses.replace(
        evaluation, **{key: tuple(dict.fromkeys(values)) for key, values in given.items()}
    )


def _check_coupling(config: RunConfig) -> str:
    """The canonical spec. In a conditional run noise must not depend on the label, as in sampling
    (AOT, Sec. 4.2).
    """
    from couplings import CouplingError, get

    try:
        chosen = get(config.coupling)
        coupling = chosen.spec
    except CouplingError as error:
        raise ConfigError(str(error)) from None
    _check_count(chosen, config.training.pool)
    if config.training.conditional and coupling != "random" and not _keeps_classes_apart(chosen):
        raise ConfigError(
            f"--conditional with {coupling}: it ignores the labels, so noise would tell the class"
            f" in training alone; couple within classes ({_within_class(chosen)}), or leave"
            " --conditional out"
        )
    return coupling


def _check_count(coupling: Coupling | DatasetCoupling, pool: int) -> None:
    """Refuse a pool that the solver can handle on no machine; those of single classes show with the
    data only.
    """
    from couplings import CouplingError

    if coupling.kind == "batch" and not coupling.within_class:
        try:
            coupling.check_count(pool)
        except CouplingError as error:
            raise ConfigError(f"--pool {pool}: {error}") from None


def check_pool(config: RunConfig, dataset: Dataset) -> None:
    """Refuse a pool that the solver, or the memory of this machine, cannot handle.

    Raises:
        ConfigError: with the sizes and the way out.

    """
    from couplings import CouplingError, get

    coupling, pool = get(config.coupling), config.training.pool
    if coupling.kind != "batch":
        return
    d = math.prod(dataset.image_shape)
    try:
        # Images and noise are float32. On the host: a pool on a GPU that is too small for it fails
        # without harm.
        coupling.check_size(pool, d, dataset.train.labels, held=2 * 4 * pool * d)
    except CouplingError as error:
        raise ConfigError(f"--pool {pool}: {error}") from None


def check_execution(execution: Execution, batch: int) -> None:
    """Refuse what cannot be carried out."""
    if execution.workers is not None and execution.workers < 0:
        raise ConfigError(f"--workers {execution.workers}: 0 or more")
    if execution.micro_batch is not None and not 0 < execution.micro_batch <= batch:
        raise ConfigError(
            f"--micro-batch {execution.micro_batch}: between 1 and the batch, {batch}"
        )


def check_seeds(first: int, count: int = 1) -> None:
    """Refuse seeds that a later step could not take."""
    if count < 1:
        raise ConfigError(f"--seeds {count}: at least 1")
    if first < 0:
        raise ConfigError(f"--seed {first}: 0 or more")
    if first + count - 1 > LARGEST:
        more = f" with --seeds {count}" if count > 1 else ""
        raise ConfigError(f"--seed {first}{more}: seeds go up to 2^63 - 1, take a smaller one")


def _check_ranges(config: RunConfig) -> None:
    training, evaluation = config.training, config.evaluation
    check_seeds(config.seed)
    for key, value in _leaves(asdict(config)):
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ConfigError(f"{key} is {number}: it must be a finite number")
            if isinstance(number, int) and abs(number) > LARGEST:
                raise ConfigError(f"{key} is {number}: numbers go up to 2^63 - 1")
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
            raise ConfigError(
                f"{option} is too small: it must be above {1 if 'samples' in option else 0}"
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
                f"--model-channels {network.model_channels} with --channel-mult {mult} gives"
                f" {width} channels, which group norm cannot divide: take multiples of 32, or of 4"
                " below 128"
            )
    if not 0 <= network.dropout < 1:
        raise ConfigError("--dropout must be in [0, 1)")


def _check_evaluation(evaluation: EvaluationConfig) -> None:
    if not evaluation.nfe:
        raise ConfigError("--nfe needs at least one number, such as 13")
    for nfe in evaluation.nfe:
        if nfe < 3 or nfe % 2 == 0:
            raise ConfigError(
                f"--nfe {nfe}: Heun takes 2 steps - 1 evaluations with 2 steps or more: 3, 5,"
                " 7, ..."
            )
    least = max(evaluation.nfe) + 1
    if evaluation.reference_steps < least:
        raise ConfigError(
            f"--reference-steps {evaluation.reference_steps}: take {least} or more, twice the"
            " finest --nfe"
        )
    if not evaluation.sigma_max > evaluation.sigma_min:
        raise ConfigError("--sigma-max must be above --sigma-min")
    for nfe in evaluation.start_nfe if evaluation.start else ():
        if nfe < 3 or nfe % 2 == 0:
            raise ConfigError(
                f"--start-nfe {nfe}: Heun takes 2 steps - 1 evaluations with 2 steps or more: 3, 5,"
                " 7, ..."
            )
    _check_schedules(evaluation)


def _check_features(specs: tuple[str, ...]) -> None:
    if specs:  # the import is heavy
        from bench import features

        try:
            for spec in specs:
                features.check(spec)
        except features.FeatureError as error:
            raise ConfigError(str(error)) from None


def _canonical_start(start: str, evaluation: EvaluationConfig) -> str:
    """The spec of a start as it stands in the results; its options are read where they are needed,
    for that is slow.
    """
    from bench.sampling.starts import canonical, parse
    from couplings import get

    try:
        plan = parse(start)
        level, spec, project = (
            plan.level(evaluation.sigma_max),
            canonical(start),
            getattr(plan, "project", None),
        )
        get("semidiscrete" + f":project={project}" * (project is not None))
    except ValueError as error:
        raise ConfigError(f"--start: {error}") from None
    if not level > evaluation.sigma_min:
        raise ConfigError(
            f"--start {spec}: sigma {level:g} must be above --sigma-min {evaluation.sigma_min:g}"
        )
    return spec


def _canonical_sampler(sampler: str) -> str:
    """``heun``, ``euler`` or ``dopri5:tolerance=0.0001``, as it stands in the results."""
    if sampler in ("heun", "euler", "euler-maruyama"):
        return sampler
    word, _, value = sampler.partition(":tolerance=")
    if sampler.startswith("dopri5:") and word != "dopri5":
        raise ConfigError(
            f"--samplers {sampler}: its one option is tolerance, as in dopri5:tolerance=1e-4"
        )
    if word != "dopri5":
        raise ConfigError(
            unknown("sampler", sampler, ("heun", "euler", "dopri5", "euler-maruyama"))
        )
    try:
        tolerance = float(value or "1e-4")
    except ValueError:
        tolerance = math.nan
    if not 1e-12 <= tolerance < 1:
        raise ConfigError(
            f"--samplers {sampler}: a tolerance from 1e-12 to below 1, such as"
            " dopri5:tolerance=1e-4"
        )
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

    for option, rho in (("--rho", evaluation.rho), *(("--rhos", rho) for rho in evaluation.rhos)):
        for steps in (*map(heun_steps, evaluation.nfe), evaluation.reference_steps):
            try:
                karras_sigmas(steps, rho, evaluation.sigma_min, evaluation.sigma_max)
            except ValueError as error:
                raise ConfigError(f"{option}: {error}") from None


def _leaves(node: dict, prefix: str = "--") -> list[tuple[str, object]]:
    """Option name and value of every field."""
    found = []
    for key, value in node.items():
        found += (
            _leaves(value) if isinstance(value, dict) else [(prefix + key.replace("_", "-"), value)]
        )
    return found


def make(preset: str | None = None, overrides: dict[str, object] | None = None) -> RunConfig:
    """Build a checked RunConfig: dataclass defaults, then the preset, then ``overrides``.

    Override keys are dotted (``training.lr``) or the bare name of a field that is found in one
    place only (``lr``). Without ``preset`` the one named like the data set is taken where there is
    one.

    Raises:
        ConfigError: an unknown preset or key, or a value out of range.

    """
    from bench.check import check

    return check(
        apply(load_preset(preset, str((overrides or {}).get("data", "digits"))), overrides or {})
    )


def check_guidance(config: GuidanceConfig, coupling: str, conditional: bool) -> GuidanceConfig:
    """Refuse what cannot run; return it with its noising in canonical spelling.

    Args:
        config: what is asked for.
        coupling: that the denoiser was trained with.
        conditional: whether the denoiser is told the class.

    Raises:
        bench.config.ConfigError: with one line naming the option and the way out.

    """
    from bench.config import ConfigError

    noisings = tuple(
        dict.fromkeys(_check_noising(one.coupling, conditional) for one in config.apart())
    )
    if not noisings:
        raise ConfigError("--guidance.noising needs at least one, such as independent")
    if config.boost and coupling != "random" and not config.boost_coupled:
        raise ConfigError(
            f"--guidance.boost with a denoiser trained with {coupling}: boosting adds fresh noise,"
            " independent of the image, which such a denoiser has not seen; leave it out, or"
            " insist with --guidance.boost-coupled"
        )
    check_ranges(config)
    return replace(config, noising=noisings)


def _check_noising(spec: str, conditional: bool) -> str:
    """The canonical spec of a noising, ``independent`` for the coupling ``random``."""
    from bench.config import ConfigError
    from couplings import CouplingError, get

    try:
        noising = get(spec)
    except CouplingError as error:
        raise ConfigError(f"--guidance.noising: {error}") from None
    if noising.kind != "batch":
        raise ConfigError(
            f"--guidance.noising {spec}: it is fitted to real images alone; take a coupling of a"
            " pool, such as lapjv"
        )
    if (
        conditional
        and noising.spec != "random"
        and not (noising.uses_labels or noising.within_class)
    ):
        raise ConfigError(
            f"--guidance.noising {noising.spec}: noise would tell the class; couple within classes "
            f"({noising.spec}{',' if ':' in noising.spec else ':'}within_class=true)"
        )
    return "independent" if noising.spec == "random" else noising.spec
