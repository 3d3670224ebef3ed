"""Checks of a configuration, before anything is begun."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from bench.config import (
    ConfigError,
    EvaluationConfig,
    Execution,
    RunConfig,
    TrainingConfig,
)
from bench.config.decoder import check_decoder
from bench.config.guidance import check_guidance, check_heun_nfe
from bench.config.read import apply, load_preset, refuse_other_preset
from bench.record import LARGEST, flatten

if TYPE_CHECKING:
    from couplings import Coupling, DatasetCoupling


def check(config: RunConfig) -> RunConfig:
    """Refuse a configuration that cannot run; return it with all specs in canonical spelling.

    Raises:
        ConfigError: with one line naming the option and the way out.

    """
    from bench import data
    from bench.metrics import check_metrics, check_primary
    from bench.sampling.classifier_free import check_classifier_free
    from bench.sampling.source import check_source
    from bench.training.network import check_network

    # First what the other checks rely on: the data set and the coupling.
    try:
        data.find(config.data)
        data.check_resolution(config.data, config.resolution)
    except data.DataError as error:
        raise ConfigError(str(error)) from None
    # The run of a network file is called by the file; it trains with no coupling.
    coupling = config.coupling if config.checkpoint else _check_coupling(config)
    _check_ranges(config)
    network = check_network(config.network)
    training = replace(
        config.training,
        objective=_check_objective(config.training),
        # Without --conditional there are no labels to be blind to.
        label_blind=config.training.label_blind and config.training.conditional,
    )
    _check_features(config.evaluation.features)
    check_metrics(config.evaluation.metrics)
    _check_evaluation(config.evaluation)
    evaluation = _check_schedules(config, training)
    evaluation = check_decoder(_canonical_evaluation(evaluation))
    evaluation = replace(evaluation, cfg=check_classifier_free(config))
    # A denoiser without labels is asked for no class, so no class law makes another run.
    if not (config.training.conditional or config.checkpoint):
        evaluation = replace(evaluation, class_law=EvaluationConfig.class_law)
    trained_with = "random" if config.checkpoint else coupling
    guidance = check_guidance(config.guidance, trained_with, config.training.conditional)
    check_source(replace(config, evaluation=evaluation))
    evaluation = replace(evaluation, primary=check_primary(replace(config, evaluation=evaluation)))
    return replace(
        config,
        coupling=coupling,
        network=network,
        training=training,
        evaluation=evaluation,
        guidance=guidance,
    )


def _canonical_evaluation(evaluation: EvaluationConfig) -> EvaluationConfig:
    """Samplers and starts in canonical spelling, and nothing twice: it would be measured twice."""
    from bench.sampling.samplers import check_sampler

    given: dict[str, Iterable[Any]] = {
        "samplers": [check_sampler(one, evaluation) for one in evaluation.samplers],
        "start": [_canonical_start(one, evaluation) for one in evaluation.start],
    }
    for key in ("nfe", "rhos", "shifts", "schedule", "features", "metrics", "start_nfe"):
        given[key] = getattr(evaluation, key)
    # A dictionary keeps the order of the first mention.
    unique: dict[str, Any] = {key: tuple(dict.fromkeys(values)) for key, values in given.items()}
    return replace(evaluation, **unique)


def _check_coupling(config: RunConfig) -> str:
    """The canonical spec of the coupling.

    In a conditional run noise must not depend on the label, as in sampling (AOT, Sec. 4.2).
    """
    from couplings import CouplingError, get

    try:
        chosen = get(config.coupling)
        coupling = chosen.spec
    except CouplingError as error:
        raise ConfigError(str(error)) from None
    # Before the labels: a pool of this size fails with any of them.
    _check_count(chosen, config.training.pool)
    # The folder of the run is known later; without a name there is none to look for.
    if getattr(chosen, "needs_model", False) and chosen.run == "none":
        raise ConfigError(
            f"--coupling {coupling}: name the finished run whose network makes its pairs,"
            f" {chosen.name}:run=NAME"
        )
    blind = not chosen.independent and not _keeps_classes_apart(chosen)
    if config.training.conditional and blind and not config.training.label_blind:
        raise ConfigError(
            f"--conditional with {coupling}: it ignores the labels, so the noise would reveal the"
            " class in training but not in sampling; couple within classes"
            f" ({_within_class(chosen)}), leave --conditional out, or pass --label-blind if that is"
            " what you want to measure"
        )
    return coupling


def _check_count(coupling: Coupling | DatasetCoupling, pool: int) -> None:
    """Refuse a pool that the solver can handle on no machine."""
    from couplings import Coupling, CouplingError

    # The sizes of single classes are known with the data only.
    if isinstance(coupling, Coupling) and not coupling.within_class:
        try:
            coupling.check_count(pool)
        except CouplingError as error:
            raise ConfigError(f"--pool {pool}: {error}") from None


def refuse_unchecked(config: RunConfig) -> None:
    """Refuse a configuration that is not as ``check`` returns it.

    It takes milliseconds; without it, a wrong option could fail a run after hours of training.

    Raises:
        ConfigError: it cannot run, or is not in canonical spelling.

    """
    checked = check(config)
    if checked != config:
        raise ConfigError(
            f"{config.run_id} is not checked: pass what bench.check.check(config) returns"
            f" ({checked.run_id})"
        )


def check_processes(training: TrainingConfig, count: int, device: str) -> None:
    """Refuse a training that these processes cannot share, or that the device cannot compute.

    Args:
        training: its configuration.
        count: number of processes.
        device: that each computes on.

    Raises:
        ConfigError: naming the option.

    """
    # Unequal shares would weigh the gradients of some images more.
    if training.batch % count:
        raise ConfigError(f"--batch {training.batch} cannot be shared by {count} processes")
    # A CPU would ignore it and train in float32, under a name that says TF32.
    if training.precision == "tf32" and not device.startswith("cuda"):
        raise ConfigError("--precision tf32 needs a GPU: take float32 or bfloat16 on a CPU")


def check_execution(execution: Execution, batch: int) -> None:
    """Refuse numbers of workers, or of images at once, that make no sense."""
    if execution.workers is not None and execution.workers < 0:
        raise ConfigError(f"--workers {execution.workers}: 0 or more")
    # Above the batch it would change nothing, which its user does not expect.
    if execution.micro_batch is not None and not 0 < execution.micro_batch <= batch:
        raise ConfigError(
            f"--micro-batch {execution.micro_batch}: between 1 and the batch, {batch}"
        )


def check_seeds(first: int, count: int = 1) -> None:
    """Refuse seeds that a later step could not take.

    Args:
        first: the first seed.
        count: how many, counted up from it.

    Raises:
        ConfigError: naming the option.

    """
    if count < 1:
        raise ConfigError(f"--seeds {count}: at least 1")
    if first < 0:
        raise ConfigError(f"--seed {first}: 0 or more")
    # Torch and the tables of results hold whole numbers of 63 bits.
    if first + count - 1 > LARGEST:
        more = f" with --seeds {count}" if count > 1 else ""
        raise ConfigError(f"--seed {first}{more}: seeds go up to 2^63 - 1, take a smaller one")


def _check_ranges(config: RunConfig) -> None:
    training = config.training
    evaluation = config.evaluation
    check_seeds(config.seed)
    # TOML and the command line take nan, inf and whole numbers of any size.
    for key, value in flatten(asdict(config)).items():
        option = "--" + key.split(".")[-1].replace("_", "-")
        for number in value if isinstance(value, tuple) else (value,):
            _check_size(option, number)
    # Below, `not value > 0` instead of `value <= 0`: it refuses a NaN too.
    above_0 = {
        "--images": training.images,
        "--batch": training.batch,
        "--pool": training.pool,
        "--lr": training.lr,
        "--P-std": training.P_std,
        "--ema-halflife": training.ema_halflife,
        "--rho": evaluation.rho,
        "--shift": evaluation.shift,
        "--sigma-min": evaluation.sigma_min,
        "--trajectories": evaluation.trajectories,
        "--num-blocks": config.network.num_blocks,
    }
    # A covariance needs two images.
    above_1 = {"--samples": evaluation.samples, "--grid-samples": evaluation.grid_samples}
    for option, value in above_0.items():
        if not value > 0:
            raise ConfigError(f"{option} must be above 0 (got {value:g})")
    for option, value in above_1.items():
        if not value > 1:
            raise ConfigError(f"{option} must be above 1 (got {value:g})")
    if not 0 <= training.augment <= 1:
        raise ConfigError(f"--augment {training.augment}: a probability between 0 and 1")
    if not training.weight_decay >= 0:
        raise ConfigError(f"--weight-decay {training.weight_decay}: 0 or more")
    if training.select_every < 0:
        raise ConfigError(f"--select-every {training.select_every}: 0 or more images")
    if training.sigma_data != "data" and not training.sigma_data > 0:
        raise ConfigError(f"--sigma-data {training.sigma_data}: above 0, or data")
    # At 0 the average would be the last weights themselves.
    if not training.ema_rampup > 0:
        raise ConfigError(f"--ema-rampup must be above 0 (got {training.ema_rampup:g})")


def _check_size(option: str, number: object) -> None:
    """Refuse numbers that no comparison or table can hold; pass anything that is no number."""
    if isinstance(number, float) and not math.isfinite(number):
        raise ConfigError(f"{option} is {number}: it must be a finite number")
    if isinstance(number, int) and abs(number) > LARGEST:
        raise ConfigError(f"{option} is {number}: numbers go up to 2^63 - 1")


def _check_objective(training: TrainingConfig) -> str:
    """The canonical spec of the objective."""
    from bench.training.network import stated_objective
    from couplings.spec import format_spec

    try:
        return format_spec(stated_objective(training))
    except ValueError as error:
        raise ConfigError(f"--objective: {error}") from None


def _check_evaluation(evaluation: EvaluationConfig) -> None:
    if not evaluation.nfe:
        raise ConfigError("--nfe needs at least one number, such as 13")
    # A reference that is no finer than the samples would measure its own error.
    least = max(evaluation.nfe) + 1
    if evaluation.reference_steps < least:
        raise ConfigError(
            f"--reference-steps {evaluation.reference_steps}: take {least} or more, twice the"
            " finest --nfe"
        )
    if not evaluation.sigma_max > evaluation.sigma_min:
        raise ConfigError("--sigma-max must be above --sigma-min")


def _searches(words: tuple[str, ...]) -> bool:
    """True if one of the chosen metrics is measured in the grid of schedule and NFE."""
    from bench import metrics
    from bench.metrics.contract import SampleMetric

    chosen = [metrics.load(name) for name in metrics.chosen(words)]
    return any(issubclass(metric, SampleMetric) and metric.scope == "grid" for metric in chosen)


def _check_features(specs: tuple[str, ...]) -> None:
    if specs:  # the import is heavy
        from bench import features

        try:
            for spec in specs:
                features.check(spec)
        except features.FeatureError as error:
            raise ConfigError(str(error)) from None


def _canonical_start(start: str, evaluation: EvaluationConfig) -> str:
    """The spec of a start as it stands in the results."""
    from bench.sampling.starts import parse
    from couplings.spec import format_spec

    try:
        chosen = parse(start)
        level = chosen.level(evaluation.sigma_max)
    except ValueError as error:
        raise ConfigError(f"--start: {error}") from None
    spec = format_spec(chosen)
    if not level > evaluation.sigma_min:
        raise ConfigError(
            f"--start {spec}: sigma {level:g} must be above --sigma-min {evaluation.sigma_min:g}"
        )
    return spec


def _keeps_classes_apart(coupling: Coupling | DatasetCoupling) -> bool:
    option = "within_class" if coupling.kind == "batch" else "per_class"
    return coupling.uses_labels or getattr(coupling, option)


def _within_class(coupling: Coupling | DatasetCoupling) -> str:
    option = "within_class" if coupling.kind == "batch" else "per_class"
    return f"{coupling.spec}{',' if ':' in coupling.spec else ':'}{option}=true"


def _check_schedules(config: RunConfig, training: TrainingConfig) -> EvaluationConfig:
    """The evaluation with the schedules of the objective, if none are given."""
    from bench.sampling.schedules import check_schedules, parse, with_natural

    natural = natural_schedule(replace(config, training=training))
    evaluation = with_natural(config.evaluation, natural)
    check_schedules(evaluation)
    # All but the first one are for the search.
    if len(evaluation.schedules) > 1 and not _searches(evaluation.metrics):
        raise ConfigError(
            f"--schedule {' '.join(evaluation.schedules)}: without the metrics of the group grid"
            f" only {evaluation.schedules[0]} would be used; add grid to --metrics, or give one"
        )
    # The way out for the search's sampler is fewer schedules, not another one of --samplers.
    if evaluation.searched_schedules and _searches(evaluation.metrics):
        way_out = "; or skip the search: --rhos and --shifts without a value, one --schedule"
        for nfe in evaluation.nfe:
            check_heun_nfe("--nfe", nfe, "the search for the best schedule", way_out)
    in_flow = parse(evaluation.fixed_schedule).coordinates == "flow"
    if config.guidance.kind == "discriminator" and config.guidance.boost and in_flow:
        raise ConfigError(
            "--guidance.boost adds noise to x: add --schedule karras, or leave it out"
        )
    return evaluation


def natural_schedule(config: RunConfig) -> str:
    """The schedule that a run is sampled along if none is given: that of its objective.

    Raises:
        ConfigError: an unknown objective or option, or a bad value.

    """
    from bench.training.network import stated_objective
    from models.objectives.edm import EDM

    # Files of models.import_edm hold networks of EDM, whatever a preset would train.
    if config.checkpoint and not config.own_weights:
        return EDM.natural_schedule
    try:
        return stated_objective(config.training).natural_schedule
    except ValueError as error:
        raise ConfigError(f"--objective: {error}") from None


def make(preset: str | None = None, overrides: dict[str, object] | None = None) -> RunConfig:
    """Build a checked RunConfig: dataclass defaults, then the preset, then ``overrides``.

    Args:
        preset: its name; None for that of the data set, if it has one.
        overrides: values by dotted key, ``training.lr``, or by the bare name of a field that
            occurs once, ``lr``.

    Raises:
        ConfigError: an unknown preset or key, or a value out of range.

    """
    from bench.training.objectives import for_objectives

    overrides = overrides or {}
    data = str(overrides.get("data", "digits"))
    refuse_other_preset(preset, data if "data" in overrides else None)
    base = load_preset(preset, data)
    config = apply(base, overrides)
    (training,) = for_objectives(config.training, [config.training.objective], base.training)
    return check(replace(config, training=training))
