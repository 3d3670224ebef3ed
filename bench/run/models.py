"""``bench.evaluate_models``: measures networks that another program trained, as runs of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from bench import data as data_sets
from bench import plugins
from bench.arm import folder_of, run_arm
from bench.check import check, check_seeds
from bench.cli import report
from bench.config import (
    ConfigError,
    EvaluationConfig,
    Execution,
    RunConfig,
    TrainingConfig,
    load_preset,
)
from bench.config.read import apply
from bench.evaluation.ledger import measured_weights
from bench.evaluation.series import measure_all
from bench.evaluation.shared_choice import Member
from bench.process.defaults import plain_torch
from bench.process.ranks import join
from bench.record import RunFolder, UserError, readable, unknown
from bench.sampling.store import weights_digest
from bench.suitable import refuse_unwritable, stated_coupling
from bench.training.outside import denoiser_of, digest_of, looks_wrong
from bench.training.trackers import refuse_unknown
from reports.files.results import Results

if TYPE_CHECKING:
    from bench.data import Dataset
    from bench.record.best_schedule import SharedChoice

Model = Callable[..., Tensor]
"""A network or function of (x, level), or of (x, level, labels)."""
# Words of users for what the objectives of ``models.objectives`` predict
PREDICTIONS = {"velocity": "flow", "denoiser": "denoise"}


@dataclass(frozen=True)
class Options:
    """The options that a call may give by name, as for ``bench.evaluate``."""

    data_dir: Path | None = None
    resolution: int | None = None
    conditional: bool = False
    sigma_data: float | Literal["data"] = 0.5
    device: Literal["auto", "cpu", "cuda"] = "auto"
    keep_samples: bool = False
    log: tuple[str, ...] = ()
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


def evaluate_models(
    models: Mapping[str, Model | Sequence[Model]],
    predicts: str,
    data: str = "digits",
    name: str = "own",
    seed: int = 0,
    runs: str | Path = "runs",
    **options: Any,
) -> Results:
    """Measure trained networks of any program, and report on them as on runs of this one.

    Each gets a run folder in ``runs``, whose ``results.csv`` and page are written again. The same
    call again measures what is missing; a network that was trained further replaces the
    measurements of the earlier one. Nothing is known of the training, so there are no rows of its
    cost, and the columns ``pool`` and ``training.*`` are empty.

    Args:
        models: coupling to a network, or to a list of networks, one for each seed. The coupling is
            a label; one of ``random`` is the baseline, and one of ``couplings`` may be a spec.
        predicts: what they return of x ``[n, c, h, w]`` and level ``[n]``, as an objective:
            ``denoiser``, the image D(x; sigma) of x = y + sigma n; ``noise``, n of the same x;
            ``velocity``, n - y of x = (1 - t) y + t n at t, from image at 0 to noise at 1; or a
            spec of ``--objective``, such as ``edm`` for its raw network.
        data: data set, or a module of your own.
        name: of the training. Runs of one name are compared with each other.
        seed: of the first network in a list; latents are drawn from it.
        runs: folder that receives the run folders, ``results.csv`` and the page.
        **options: ``conditional=True`` for networks of (x, level, labels), with classes ``[n]``;
            ``data_dir``, ``resolution``, ``sigma_data``, ``device``, ``keep_samples``, ``log``; and
            those of the evaluation, such as ``nfe=[5, 9]`` or ``samples=2000``.

    Raises:
        bench.config.ConfigError: an unknown option or a bad value, or a network that cannot be
            called, in one line.
        UserError: no network could be measured; the lines above say why.

    """
    # The measurements of the data set's preset, as for runs of this project.
    base = Options(evaluation=load_preset(None, data).evaluation)
    given = apply(base, options)
    refuse_unknown(given.log)
    series = _series(models, seed)
    folder = Path(runs)
    # Everything that can be refused is refused before the data are loaded.
    configs = [_config(label, one, predicts, data, name, given) for label, one, _ in series]
    if len({config.run_id for config in configs}) < len(configs):
        raise ConfigError("models: two labels spell one coupling, give each a name of its own")
    refuse_unwritable(folder)
    _refuse_other_prediction(folder, configs[0])
    dataset = data_sets.load(data, given.data_dir, given.resolution)
    data_sets.announce(data_sets.describe(dataset))
    members = [Member(c, folder_of(c, folder), i) for i, c in enumerate(configs)]
    _measure(members, [model for _, _, model in series], dataset, given)
    finished = [each.config.run_id for each in members if each.folder.is_done()]
    if not finished:
        raise UserError(f"no network of {name} could be measured: see the lines above")
    # Over the whole folder: networks that are measured later join the same page.
    report(folder, finished)
    return Results(folder, tuple(finished))


def _series(
    models: Mapping[str, Model | Sequence[Model]], seed: int
) -> list[tuple[str, int, Model]]:
    """Label, seed and network of every run, seed by seed as ``bench.run`` makes them."""
    if not isinstance(models, Mapping) or not models:
        raise ConfigError("models: give a dictionary, such as {'lapjv': net}, of one or more")
    found = []
    for label, several in models.items():
        # A list of modules is a module too, and no network.
        is_list = isinstance(several, list | tuple | nn.ModuleList)
        own = cast("Sequence[Model]", several if is_list else [several])
        if not len(own):
            raise ConfigError(
                f"models: the list of {label} is empty: give it a network, or leave {label} out"
            )
        for number, model in enumerate(own):
            found.append((label, seed + number, model))
    check_seeds(seed, len(found))
    return sorted(found, key=lambda each: each[1])


def _config(
    label: str, seed: int, predicts: str, data: str, name: str, given: Options
) -> RunConfig:
    """The checked configuration of one network."""
    for word, value in {"name": name, "a coupling in models": label}.items():
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f"{word} must be a text, not {value!r}")
    objective = PREDICTIONS.get(predicts, predicts)
    known_objectives = plugins.names("models.objectives")
    # A module of the user's own has a dot in its name, and is looked for when it is built.
    if objective.partition(":")[0] not in known_objectives and "." not in objective:
        words = {*PREDICTIONS, *known_objectives} - {*PREDICTIONS.values()}
        raise ConfigError(unknown("predicts", predicts, sorted(words)))
    training = TrainingConfig(
        # The only settings of a training that its network is read by.
        objective=objective,
        conditional=given.conditional,
        sigma_data=given.sigma_data,
    )
    config = RunConfig(
        data=data,
        coupling=readable(label),
        seed=seed,
        training=training,
        evaluation=given.evaluation,
        resolution=given.resolution,
        checkpoint=digest_of(name),
        own_weights=True,
        trainer=readable(name),
    )
    known = stated_coupling(config)
    # In canonical spelling, as runs of this project have it.
    return check(config if known is None else replace(config, coupling=known.spec))


def _refuse_other_prediction(runs: Path, config: RunConfig) -> None:
    """Refuse a name under which networks were measured that predict something else.

    Their seeds would meet in one comparison, which has no column that separates them.
    """
    for path in sorted(runs.glob("*/config.json")):
        content = RunFolder(path.parent).config()
        if content.get("trainer") != config.trainer or content.get("data") != config.data:
            continue
        objective = content["training"]["objective"]
        if objective != config.training.objective:
            raise ConfigError(
                f"networks of {config.trainer} in {runs} were measured as {objective}, not as"
                f" {config.training.objective}: take another name=, or delete their run folders"
            )


@plain_torch()
def _measure(
    members: Sequence[Member], models: Sequence[Model], dataset: Dataset, given: Options
) -> None:
    """Measure every network in its folder."""
    ranks = join(given.device)
    execution = Execution(device=given.device, keep_samples=given.keep_samples, log=given.log)
    # A misspelt name would be a comparison of something else.
    labels = {each.config.coupling for each in members if stated_coupling(each.config) is None}
    named = ", ".join(sorted(labels))
    if labels and ranks.first:
        print(f"note: no couplings of this project, only labels: {named}", flush=True)
    with _evaluating(models):
        nets = []
        # All of them before any is measured: a wrong one should not show after an hour.
        for member, model in zip(members, models, strict=True):
            net = denoiser_of(model, member.config, dataset, ranks.device)
            nets.append(net)
            if ranks.first:
                _note(member, weights_digest(net), looks_wrong(net, dataset, ranks.device))

        def measure(member: Member, shared: SharedChoice | None) -> int:
            before = {row.key for row in member.folder.measurements()}
            folder = run_arm(
                member.config,
                member.folder.path.parent,
                execution,
                given.data_dir,
                dataset=dataset,
                shared=shared,
                given=nets[member.number],
            )
            # By keys: rows that are measured again replace old ones and are not new.
            after = {row.key for row in RunFolder(folder.path).measurements()}
            return len(after - before)

        measure_all(members, measure, ranks)


def _note(member: Member, weights: str, wrong: bool) -> None:
    """Print lines about a network that took the place of another, or that hardly denoises."""
    label = f"{member.config.coupling} seed {member.config.seed}"
    before = measured_weights(member.folder)
    if before not in (None, weights):
        print(f"note: {label} is another network than before: it is measured again", flush=True)
    if wrong:
        print(
            f"note: {label} removes high noise worse than the mean image would: check predicts= and"
            " the direction of time (t = 1 is noise)",
            flush=True,
        )


@contextmanager
def _evaluating(models: Sequence[Model]) -> Iterator[None]:
    """Lend networks to an evaluation; their devices and modes of training are restored after it."""
    modules = [model for model in models if isinstance(model, nn.Module)]
    # Of every layer: a frozen one may be in evaluation mode within a network in training.
    modes: dict[nn.Module, bool] = {}
    for module in modules:
        modes |= {layer: layer.training for layer in module.modules()}
    # Of a network on several devices the evaluation takes all of it to its own.
    devices = {module: _devices(module) for module in modules}
    try:
        yield
    finally:
        for layer, mode in modes.items():
            layer.training = mode
        for module, before in devices.items():
            if len(before) == 1:
                module.to(before.pop())


def _devices(module: nn.Module) -> set[torch.device]:
    """The devices that hold the weights of a network."""
    return {value.device for value in module.parameters()}
