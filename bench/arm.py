"""One arm: train a denoiser with one coupling, measure it, record it in its run folder."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.check import check
from bench.config import ConfigError, Execution, RunConfig
from bench.process.defaults import plain_torch
from bench.record import Measurement, RunFolder, RunFolderError, readable
from bench.record.failures import forget_traceback, keep_traceback
from bench.suitable import network_digest, network_of, refuse_other_data, refuse_unfit

if TYPE_CHECKING:
    from bench.data import Dataset
    from bench.features import Features
    from bench.process.ranks import Ranks


def check_folder(config: RunConfig, runs_dir: Path) -> RunFolder:
    """The arm's folder, checked to be of this very configuration.

    Raises:
        ConfigError: its config.json differs, or cannot be read.

    """
    folder = RunFolder(runs_dir / config.run_id)
    try:
        differs = folder.exists() and folder.config() != config.identity
    except ValueError:
        raise ConfigError(
            f"{folder}/config.json cannot be read: move the folder away, or use other --runs"
        ) from None
    if differs:
        raise ConfigError(
            f"{folder} holds another configuration: move it away, or choose another folder with"
            " --runs"
        )
    return folder


@plain_torch()
def run_arm(
    config: RunConfig,
    runs_dir: Path,
    execution: Execution = Execution(),  # noqa: B008 - frozen
    data_dir: Path | None = None,
    progress: bool = True,
    checkpoint: Path | None = None,
    dataset: Dataset | None = None,
) -> RunFolder:
    """Train and measure one arm in its run folder; done already, it returns at once, stopped, it
    resumes.

    ``checkpoint`` is the network file of an arm that is measured without training, see
    ``file_arm``; ``dataset`` the data, if they are loaded already. A training that another run in
    ``runs_dir`` has finished is not done again. Under torchrun all processes must call it; the
    first keeps the folder.

    Raises:
        ConfigError: the configuration cannot run, or the folder holds another one.
        RunFolderError: the folder is locked or cannot be written.
        bench.training.loop.TrainingError: training failed; status.json says why.
        bench.data.DataError: the data is missing or damaged.

    """
    from bench import data
    from bench.process.ranks import join

    ranks = join(execution.device)
    config = check(config)
    if config.training.batch % ranks.count:
        raise ConfigError(
            f"--batch {config.training.batch} cannot be shared by {ranks.count} processes"
        )
    if config.training.precision == "tf32" and not ranks.device.startswith("cuda"):
        raise ConfigError("--precision tf32 is for GPUs: take float32 or bfloat16 on a CPU")
    folder = check_folder(config, runs_dir)
    if ranks.first_does(lambda: is_settled(folder, config)):
        return folder
    # One process downloads.
    dataset = dataset or ranks.first_begins(
        lambda: data.load(config.data, data_dir, config.resolution)
    )
    if ranks.first:
        data.announce(data.describe(dataset))
    refuse_other_data(folder, dataset)
    refuse_unfit(config, dataset)
    with folder.lock() if ranks.first else nullcontext():
        # Another process may have finished it while this one waited.
        if not _has_own_network(config) and ranks.first_does(lambda: is_done(folder, config)):
            return folder
        was_done = ranks.first and folder.is_done()
        try:
            _train_and_measure(config, folder, dataset, ranks, execution, progress, checkpoint)
        except Exception as error:
            if ranks.first:
                _record_failure(folder, error, was_done)
            raise
    return folder


def is_settled(folder: RunFolder, config: RunConfig) -> bool:
    """Whether nothing is left to do, not even to look at the data.

    One name stands for any images of the user's own, and a path for any network: even a finished
    run must be shown to be of these.

    Raises:
        RunFolderError: its records are damaged.

    """
    from bench import data

    return not (config.data in data.OWN_IMAGES or _has_own_network(config)) and is_done(
        folder, config
    )


def _has_own_network(config: RunConfig) -> bool:
    own_encoder = config.guidance.kind == "discriminator" and config.guidance.encoder is not None
    return own_encoder or any(":" in spec for spec in config.evaluation.features)


def _record_failure(folder: RunFolder, error: Exception, was_done: bool) -> None:
    from bench.evaluation.ledger import is_whole

    keep_traceback(folder, error)
    with suppress(OSError, RunFolderError):  # a full disk must not hide what the run died of
        if was_done and is_whole(folder):  # it failed to measure more: what it holds is no worse
            folder.set_status("done")
        else:
            folder.set_status(
                "failed", reason=str(error) or type(error).__name__, error=type(error).__name__
            )


def is_done(folder: RunFolder, config: RunConfig) -> bool:
    """Whether the run is trained and all measured that this configuration asks for.

    Raises:
        RunFolderError: its records are damaged.

    """
    from bench.evaluation.ledger import is_finished

    return folder.is_done() and is_finished(folder, config)


def file_arm(shared: RunConfig, path: Path) -> RunConfig:
    """The configuration of an arm that measures the network in a file of ``models.import_edm``,
    called by its stem.

    Raises:
        ConfigError: there is no such file, or it cannot be read.

    """
    return replace(shared, coupling=readable(path.stem), checkpoint=network_digest(path))


def _train_and_measure(
    config: RunConfig,
    folder: RunFolder,
    dataset: Dataset,
    ranks: Ranks,
    execution: Execution,
    progress: bool,
    checkpoint: Path | None,
) -> None:
    from bench import features
    from bench.evaluation.loop import evaluate
    from bench.training.loop import train, training_measurements
    from bench.training.state import total_steps

    cache = folder.path.parent / ".cache"
    specs = config.evaluation.features or features.names(dataset)
    extractors = features.load_all(specs, dataset, cache, ranks.device)
    # Only the file tells whether its network is conditional.
    net = network_of(checkpoint, dataset).to(ranks.device) if checkpoint is not None else None
    conditional = config.training.conditional if net is None else net.label_dim > 0
    ranks.first_does(
        lambda: _begin(config, folder, dataset, extractors, ranks, total_steps(config), conditional)
    )
    learned = None
    if net is None:
        state = train(config, dataset, folder, ranks, execution, progress)
        net, learned, images = (
            state.ema.net,
            state.coupling,
            total_steps(config) * config.training.batch,
        )
        if ranks.first:
            folder.add(training_measurements(state.cost, state.seconds, images))
    if ranks.first:
        _under_way(folder, "evaluation")
    evaluate(
        config, net, dataset, extractors, ranks, folder, learned, progress, execution.keep_samples
    )
    if ranks.first:
        folder.add(
            [
                Measurement("classifier_accuracy", f.accuracy, split="test")
                for f in extractors
                if f.accuracy
            ]
        )
        folder.set_status("done")
        forget_traceback(folder)
    ranks.wait()


def _begin(
    config: RunConfig,
    folder: RunFolder,
    dataset: Dataset,
    extractors: list[Features],
    ranks: Ranks,
    steps: int,
    conditional: bool,
) -> None:
    """Record what the run is and where its numbers and, if another run trained it, its network come
    from.
    """
    from bench.record import provenance, write_json
    from bench.training.reuse import reuse_training
    from couplings import get

    before = folder.provenance() if (folder.path / "provenance.json").exists() else {}
    earlier, trained_in = _earlier_sessions(before), before.get("trained_in")
    trainer = reuse_training(config, folder, dataset, steps)
    if trainer is not None:
        its = trainer.provenance()
        earlier, trained_in = (
            _earlier_sessions(its) + earlier,
            its.get("trained_in", trainer.run_id),
        )
        print(f"training reused from {trained_in}", flush=True)
    origin = provenance(
        ranks.device,
        seed=config.seed,
        data_checksum=dataset.checksum,
        # What earlier sessions measured in other features stays.
        features={**before.get("features", {}), **{f.name: f.fingerprint for f in extractors}},
        feature_sizes={**before.get("feature_sizes", {}), **{f.name: f.size for f in extractors}},
        processes=ranks.count,
        exact_noise_marginal=(
            None if config.checkpoint else get(config.coupling).exact_noise_marginal
        ),
        earlier_sessions=earlier,
        **({"trained_in": trained_in} if trained_in else {}),
        **({"class_law": config.evaluation.class_law} if conditional else {}),
    )
    write_json(folder.path / "provenance.json", origin)
    write_json(folder.path / "config.json", config.identity)
    _under_way(folder, "training")


def _under_way(folder: RunFolder, stage: str) -> None:
    """Record the stage; a finished run of which more is measured stays finished, also if that is
    stopped.
    """
    if not folder.is_done():
        folder.set_status("running", stage=stage)


def _earlier_sessions(before: dict) -> list[dict]:
    """Who worked on this run before it was stopped: a resumed run names every commit that took
    part.
    """
    if not before:
        return []
    kept = ("started", "git_sha", "git_dirty", "device", "processes", "command")
    return [*before.get("earlier_sessions", []), {key: before.get(key) for key in kept}]
