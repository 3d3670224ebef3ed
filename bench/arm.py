"""One run: train a denoiser with one coupling, measure it, record it in its run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.check import check_processes, refuse_unchecked
from bench.config import Execution, RunConfig
from bench.process.defaults import plain_torch
from bench.record import RunFolder, provenance
from bench.suitable import network_of, refuse_unfit, stated_coupling

if TYPE_CHECKING:
    from torch import Tensor

    from bench.data import Dataset, Decoder
    from bench.features import Features
    from bench.process.ranks import Ranks
    from bench.record import Session
    from bench.record.best_schedule import SharedChoice
    from bench.training.trackers import Log
    from models.denoiser import Denoiser

# Settings of the execution in the provenance
RECORDED = ("micro_batch", "compile", "strategy", "gradient_checkpointing")


@plain_torch()
def run_arm(
    config: RunConfig,
    runs_dir: Path,
    execution: Execution = Execution(),  # noqa: B008 - frozen
    data_dir: Path | None = None,
    progress: bool = True,
    checkpoint: Path | None = None,
    dataset: Dataset | None = None,
    shared: SharedChoice | None = None,
    given: Denoiser | None = None,
) -> RunFolder:
    """Train and measure one run in its folder; finished work is reused, a stopped run resumes.

    Under torchrun all processes must call it; the first one keeps the folder.

    Args:
        config: of the run, as ``bench.check`` returns it.
        runs_dir: folder of run folders. A training that another run there has finished is not
            done again.
        execution: device, workers and the like; they change the numbers by rounding only.
        data_dir: folder of the data set's files.
        progress: True to show progress bars.
        checkpoint: network file of a run that is measured without training;
            ``config.checkpoint`` is its SHA-256.
        dataset: the data, if they are loaded already.
        shared: the best schedules that runs of several seeds choose together; the run is then
            measured again, at these.
        given: denoiser of a run of another program (``config.trainer``), on any device.

    Raises:
        bench.config.ConfigError: the configuration cannot run.
        bench.record.RunFolderError: the folder holds another run, is locked or cannot be written.
        bench.training.state.TrainingError: training failed; status.json says why.
        bench.data.DataError: the data are missing or damaged, or the decoder does not suit them.

    """
    from bench import data
    from bench.evaluation.ledger import is_whole
    from bench.process.ranks import join
    from bench.training.sharded import refuse_strategy
    from bench.training.trackers import Log

    # Commands check before they come here; this guards callers from other programs.
    refuse_unchecked(config)
    ranks = join(execution.device)
    check_processes(config.training, ranks.count, ranks.device)
    refuse_strategy(execution, ranks.count, config)
    folder = folder_of(config, runs_dir)
    ranks.from_first(_note_question, folder, config.evaluation.primary)
    # Before the data are loaded: a finished run costs no time.
    if shared is None and ranks.from_first(is_settled, folder, config):
        return folder
    at_hand = dataset is not None
    if dataset is None:
        # One process downloads, then the others read.
        dataset = ranks.first_then_all(
            data.load, config.data, data_dir, config.resolution, config.source
        )
    decoder = data.load_decoder(config.evaluation, dataset, ranks.device)
    dataset = data.noted(dataset, decoder)
    if ranks.first and not at_hand:
        data.announce(data.describe(dataset))
    # On every rank: each has loaded the files itself, perhaps from another disk.
    folder.check_data(dataset.checksum)
    refuse_unfit(config, dataset)
    job = _Job(config, execution, ranks, folder, dataset, decoder, progress)
    trackers = execution.log if ranks.first else ()
    with folder.session(ranks.first, is_whole) as session, Log(trackers, config, folder) as log:
        # Another process may have finished it while this one loaded the data.
        again = shared is not None or _has_own_network(config)
        if not again and ranks.from_first(is_done, folder, config):
            return folder
        net = given if checkpoint is None else network_of(config, checkpoint, dataset)
        _make(job, net, shared, session, log)
        # No rank takes the next run before this one is recorded.
        ranks.wait()
    return folder


@dataclass(frozen=True)
class _Job:
    """All that one run is made of and with."""

    config: RunConfig
    execution: Execution
    ranks: Ranks
    folder: RunFolder
    dataset: Dataset
    decoder: Decoder | None
    progress: bool


def _make(
    job: _Job, net: Denoiser | None, shared: SharedChoice | None, session: Session, log: Log
) -> None:
    """Train the network, unless it is given, then measure it, and record both."""
    from bench import data, features
    from bench.evaluation.loop import evaluate

    config = job.config
    ranks = job.ranks
    measured = data.decoded(job.dataset, job.decoder)
    specs = config.evaluation.features or features.names(measured)
    cache = job.folder.path.parent / ".cache"
    extractors = features.load_all(specs, measured, cache, ranks.device)
    # Only the file shows if its network is conditional.
    conditional = config.training.conditional if net is None else net.label_dim > 0
    # Another program's budget is not known, and a tracker must not show ours for it.
    images = 0 if config.trainer else config.training.images
    learned = None
    if net is not None:
        net.to(ranks.device)
        # Without a training, which opens it otherwise.
        log.begin(images)
    ranks.from_first(_begin, job, session, extractors, conditional)
    if net is None:
        net, learned, images = _trained(job, session, log)
    # Earlier rows stay if this fails: `bench.evaluate` can then resume from here.
    session.enter("evaluation")
    rows = evaluate(
        config,
        net,
        job.dataset,
        extractors,
        ranks,
        job.folder,
        learned,
        job.progress,
        job.execution.keep_samples,
        shared,
        job.decoder,
    )
    log.measured(rows, images)
    session.finish()


def _trained(
    job: _Job, session: Session, log: Log
) -> tuple[Denoiser, dict[str, Tensor] | None, int]:
    """The trained average, the state of a coupling that learns, if any, and the images seen."""
    from bench.training.curve import FILE, write_curve
    from bench.training.loop import train, training_measurements

    config = job.config
    folder = job.folder
    state = train(config, job.dataset, folder, job.ranks, job.execution, job.progress, log=log)
    if job.ranks.first:
        write_curve(folder.path / FILE, state.history)
    # The budget in whole steps: some trackers ignore values at fewer images than before.
    images = state.step * config.training.batch
    session.add(training_measurements(state.cost, state.seconds, images, state.selected))
    # The average is a copy of the denoiser, so it is one.
    return cast("Denoiser", state.ema.net), state.coupling, images


def folder_of(config: RunConfig, runs_dir: Path) -> RunFolder:
    """The run's folder, checked to be of this very configuration.

    Raises:
        bench.record.OtherRunError: its config.json differs, or cannot be read.

    """
    folder = RunFolder(runs_dir / config.run_id)
    folder.check_identity(config.identity)
    return folder


def is_done(folder: RunFolder, config: RunConfig) -> bool:
    """True if the run is trained and all measured that this configuration asks for.

    Raises:
        bench.record.RunFolderError: its records are damaged.

    """
    from bench.evaluation.ledger import is_finished

    return folder.is_done() and is_finished(folder, config)


def is_settled(folder: RunFolder, config: RunConfig) -> bool:
    """True if nothing is left to do, not even to look at the data.

    One name stands for any images of the user's own, and one path for any network. Even a finished
    run is compared with what they hold now.

    Raises:
        bench.record.RunFolderError: its records are damaged.

    """
    from bench import data

    own_data = data.is_users_own(config.data) or data.is_users_own(config.source)
    if own_data or _has_own_network(config):
        return False
    return is_done(folder, config)


def _note_question(folder: RunFolder, asked: str) -> None:
    """Print a line if the run declared another primary question when it was begun."""
    begun = folder.exists() and (folder.path / "provenance.json").exists()
    declared = folder.provenance().get("primary") if begun else None
    if declared and asked and declared != asked:
        print(
            f"note: {folder.run_id} keeps its primary question, {declared}: a question is declared"
            " before the training; take other --runs to ask another one",
            flush=True,
        )


def _has_own_network(config: RunConfig) -> bool:
    """True if a file of the user's own measures or guides: its content may have changed.

    A decoder's content is part of the run's name.
    """
    # An own encoder guides; options of features name files of networks.
    guidance = config.guidance
    if guidance.kind == "discriminator" and guidance.encoder is not None:
        return True
    # One that was trained further under the same name is measured again.
    if config.trainer:
        return True
    return any(":" in spec for spec in config.evaluation.features)


def _begin(job: _Job, session: Session, extractors: list[Features], conditional: bool) -> None:
    """Record the origin of the run's numbers; its network may come from another run."""
    from bench.training.reuse import reuse_training
    from bench.training.state import total_steps

    config = job.config
    ranks = job.ranks
    dataset = job.dataset
    # Before the provenance is written: it names the run that trained the network.
    trainer = reuse_training(config, session.folder, dataset, total_steps(config))
    origin = provenance(
        ranks.device,
        seed=config.seed,
        data_checksum=dataset.checksum,
        features={extractor.name: extractor.fingerprint for extractor in extractors},
        feature_sizes={extractor.name: extractor.size for extractor in extractors},
        processes=ranks.count,
        # Times were taken while so many runs shared the machine.
        parallel=job.execution.parallel or 1,
        # They change rounding, time and memory.
        execution={name: getattr(job.execution, name) for name in RECORDED},
        exact_noise_marginal=None,
    )
    coupling = stated_coupling(config)
    if coupling is not None:
        origin["exact_noise_marginal"] = coupling.exact_noise_marginal
    # The scale of a user's own values, and which of them are held out.
    if dataset.origin.notes:
        origin["data_notes"] = list(dataset.origin.notes)
    if job.decoder is not None:
        origin["decoder"] = job.decoder.record
    if config.evaluation.primary:
        origin["primary"] = config.evaluation.primary
    # Without labels there is no class to ask for, and no law of classes.
    if conditional:
        origin["class_law"] = config.evaluation.class_law
    session.begin(config.identity, origin, trainer)
