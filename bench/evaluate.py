"""Measure trained runs again, with more of anything: ``python -m bench.evaluate RUN --nfe 11 21``.

Trains no denoiser. Measurements that a run holds already are not made again, and no row is doubled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench import cli
from bench.arm import run_arm
from bench.check import check, natural_schedule
from bench.cli import RESUMES, main_of, read_first, write_report
from bench.config import ConfigError, EvaluationConfig, Execution, RunConfig, from_dict, load_preset
from bench.config.guidance import GuidanceConfig
from bench.config.options import POSITIONAL, prefixed
from bench.evaluation.ledger import last_asked
from bench.process.background import end_process
from bench.process.console import worker
from bench.process.defaults import plain_torch
from bench.record import RunFolder, spelled
from bench.suitable import network_digest

if TYPE_CHECKING:
    from bench.record.best_schedule import SharedChoice

DESCRIPTION = """Evaluate finished runs further: other NFE, schedules, samplers, features, samples.

Nothing is retrained. New rows are added to each run's metrics.jsonl; existing measurements are not
repeated. The report of the runs' folder is rebuilt at the end.

Options default to what the first run was last measured with, except the schedule: each run keeps
the one of its objective.

Runs that differ only in the seed choose their best schedules together, so name all of them. The
runs of a job array chose separately; this command makes the choice that they share.

Examples:
  python -m bench.evaluate runs/digits-lapjv-* --nfe 11 21
  python -m bench.evaluate runs/cifar10-* --features inception --samples 50000 --metrics samples
  python -m bench.evaluate runs/digits-* --samplers euler dopri5:tolerance=1e-4
"""
# Options that --help lists first
COMMON = ("nfe", "samples", "samplers", "features", "metrics", "data-dir", "device", "no-report")


@dataclass(frozen=True)
class Command:
    """The runs, and the measurements to make in them."""

    runs: tuple[Path, ...] = field(metadata=POSITIONAL)
    """Folders of finished runs."""
    data_dir: Path | None = None
    """Folder of the data sets' files, as for bench.run."""
    from_checkpoint: tuple[Path, ...] = ()
    """The network files of runs that measured such files."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to compute on: auto, cpu or cuda."""
    keep_samples: bool = False
    """Keep the generated images (RUN/samples/)."""
    no_report: bool = False
    """Do not build the report of the runs' folder again."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    guidance: Literal["none", "discriminator"] = "none"
    """Guide the sampling by a discriminator of real and generated images; it is trained first."""
    dg: GuidanceConfig = field(default_factory=GuidanceConfig, metadata=prefixed("guidance"))


def trained(
    folder: RunFolder, evaluation: EvaluationConfig, guidance: GuidanceConfig | None = None
) -> RunConfig:
    """The checked configuration of a trained run, to be measured as these settings say.

    Args:
        folder: of the run.
        evaluation: settings of the measurement.
        guidance: settings of the guidance; None keeps the run's.

    Raises:
        ConfigError: it is no run, not trained yet, not in a folder of its name, or these settings
            belong to another run.

    """
    if not folder.exists():
        raise ConfigError(
            f"{folder} is not a run folder; give one that bench.run made, such as"
            " runs/digits-lapjv-..."
        )
    recorded = from_dict(folder.config())
    if not recorded.checkpoint:
        _refuse_untrained(folder)
    guidance = guidance or recorded.guidance
    config = check(replace(recorded, evaluation=evaluation, guidance=guidance))
    if config.run_id == folder.run_id:
        return config
    # The name is a hash of the identity: either the folder was renamed, or these settings change
    # the identity.
    if recorded.run_id != folder.run_id:
        raise ConfigError(f"{folder} is {recorded.run_id}: rename the folder to that")
    raise ConfigError(
        f"{folder} has its own --sigma-min, --sigma-max, --reference-steps, --class-law and"
        " --decode; with others it is another run: bench.run makes it, with the network of this one"
    )


def _refuse_untrained(folder: RunFolder) -> None:
    # These rows are written when the training is finished, not before.
    metrics = {row.metric for row in folder.measurements()}
    if "train_seconds" not in metrics:
        state = folder.status()["state"]
        raise ConfigError(
            f"{folder} is not trained to its end ({state}): bench.run resumes it first"
        )
    if not (folder.path / "checkpoint.pt").exists():
        raise ConfigError(
            f"{folder}: checkpoint.pt is missing, so there is nothing to measure: train it again"
        )


def parse(args: list[str]) -> Command:
    """Read the command line; the first run gives the defaults."""
    # Values of options are among them.
    default = _defaults(read_first(args, (), positional="runs").runs)
    command = Command(
        runs=(),
        evaluation=default.evaluation,
        guidance=default.guidance.kind,
        dg=default.guidance,
    )
    return cli.parse("bench.evaluate", DESCRIPTION, args, command, COMMON)


def _defaults(words: Iterable[str | Path]) -> RunConfig:
    """The settings that the first folder which is a run was last measured with."""
    folders = [RunFolder(Path(word)) for word in words]
    folder = next((folder for folder in folders if folder.exists()), None)
    if folder is None:
        return RunConfig()
    recorded = from_dict(folder.config())
    # What was asked last, and the settings that are part of what the run is
    asked = last_asked(folder) or load_preset(None, recorded.data).measured
    asked["evaluation"] |= folder.config()["evaluation"]
    default = from_dict(asked)
    # The first run's objective has no say in the schedule of the others.
    return replace(default, evaluation=_without_natural(default.evaluation, recorded))


def _without_natural(evaluation: EvaluationConfig, config: RunConfig) -> EvaluationConfig:
    """The evaluation without the natural schedule of a run's objective: each run has its own.

    Raises:
        ConfigError: the run has an objective that cannot be built.

    """
    if evaluation.schedule != (natural_schedule(config),):
        return evaluation
    return replace(evaluation, schedule=EvaluationConfig.schedule)


@plain_torch()
def run(command: Command) -> int:
    """Measure every run; the exit code.

    A run that fails is one line on stderr, and the next one begins.

    Raises:
        ConfigError: no run can be measured with these options.

    """
    from bench.evaluation.series import measure_all
    from bench.evaluation.shared_choice import Member
    from bench.process.ranks import join
    from bench.sampling.schedules import refuse_unused

    if not command.runs:
        raise ConfigError(
            "give at least one run folder: python -m bench.evaluate runs/digits-lapjv-... --nfe 11"
        )
    # By content: runs record the hash of the file that they measured, not its name.
    files = {network_digest(path): path for path in command.from_checkpoint}
    guidance = replace(command.dg, kind=command.guidance)
    # All of them before any is measured: a wrong folder should not show after hours.
    configs = [trained(RunFolder(path), command.evaluation, guidance) for path in command.runs]
    for path, config in zip(command.runs, configs, strict=True):
        _refuse_without_file(path, config, files)
    usual = _defaults(command.runs).evaluation
    refuse_unused(command.evaluation, usual, [config.evaluation for config in configs])
    execution = Execution(device=command.device, keep_samples=command.keep_samples)
    ranks = join(command.device)
    members = []
    for number, (path, config) in enumerate(zip(command.runs, configs, strict=True)):
        members.append(Member(config, RunFolder(path), number))

    def measure(member: Member, shared: SharedChoice | None) -> int:
        file = files.get(member.config.checkpoint)
        path = command.runs[member.number]
        return _measure(member.config, path, execution, command.data_dir, file, shared)

    failed = measure_all(members, measure, ranks)
    reported = True
    if failed < len(configs) and ranks.first:
        reported = _report(command)
    return int(failed > 0 or not reported)


def _report(command: Command) -> bool:
    """Build the report of every folder of these runs again; True if that worked."""
    # Each once: most runs lie in one folder.
    folders = list(dict.fromkeys(path.parent for path in command.runs))
    if command.no_report:
        names = " ".join(map(str, folders))
        print(spelled(f"Update the report with: python -m reports.build {names}"))
        return True
    # One that cannot be written costs none of the others.
    failed = [folder for folder in folders if not write_report(folder)]
    return not failed


def _refuse_without_file(path: Path, config: RunConfig, files: dict[str, Path]) -> None:
    """Refuse a run that measured a network file which is not among the given ones."""
    if config.trainer:
        raise ConfigError(
            f"{path}: its network was trained by {config.trainer}, so no file holds it: measure"
            " more of it with bench.evaluate_models, in Python"
        )
    if not config.checkpoint or config.checkpoint in files:
        return
    problem = "it measured a network file"
    if files:
        problem = "none of these files is the network that it measured"
    raise ConfigError(f"{path}: {problem}: name that file with --from-checkpoint")


def _measure(
    config: RunConfig,
    path: Path,
    execution: Execution,
    data_dir: Path | None,
    file: Path | None,
    shared: SharedChoice | None = None,
) -> int:
    """Measure one run; the number of new rows."""
    # By keys: rows that are measured again replace old ones and are not new.
    before = {row.key for row in RunFolder(path).measurements()}
    folder = run_arm(config, path.parent, execution, data_dir, checkpoint=file, shared=shared)
    after = {row.key for row in folder.measurements()}
    return len(after - before)


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    return main_of(_main, args, stopped=RESUMES)


def _main(args: list[str]) -> int:
    return run(parse(args))


if __name__ == "__main__":
    end_process(worker(main))
