"""One command, one fair comparison: ``python -m bench.run --coupling lapjv``.

Trains one arm for every coupling (and, unless told not to, the ``random`` baseline with the
identical configuration), measures all of them on the same latents, and writes a report. What is
done already is reused; what was stopped goes on.
"""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bench.arm import check_folder, file_arm, is_done, is_settled, run_arm
from bench.check import check, check_execution, check_seeds
from bench.config import (
    ConfigError,
    EvaluationConfig,
    Execution,
    NetworkConfig,
    RunConfig,
    TrainingConfig,
    load_preset,
)
from bench.config.guidance import GuidanceConfig
from bench.process.background import end_process
from bench.process.console import worker
from bench.process.defaults import plain_torch
from bench.record import RunFolder, RunFolderError
from bench.record.failures import failure_line, one_line
from bench.suitable import network_of, refuse_other_data, refuse_unfit, refuse_unwritable

if TYPE_CHECKING:
    from bench.data import Dataset
    from bench.process.ranks import Ranks

BASELINE = "random"
DESCRIPTION = """Compare couplings for training a diffusion model: train one arm each, sample, measure, report.

The random baseline is trained beside them with the identical configuration; what is done already is reused, and what
was stopped goes on.

Examples:
  python -m bench.run --coupling lapjv
  python -m bench.run --coupling lapjv sinkhorn:epsilon=0.05 minibatch-ot --seeds 3
  python -m bench.run --data fashion-mnist-16 --data-dir data --coupling hungarian:cost=l2
  python -m bench.run --coupling lapjv --guidance discriminator --guidance.noising independent lapjv
  python -m bench.run --coupling random --start expressway:sigma=0.5 random-index:sigma=0.5 truncated:sigma=0.5
  python -m bench.run --data image-folder --data-dir photos --resolution 32
"""


@dataclass(frozen=True)
class Command:
    """What is compared, on what, and where the results go."""

    coupling: tuple[str, ...] = ("lapjv",)
    """Couplings to compare, as name or name:key=value,key=value. The random baseline joins them by
    itself.
    """
    from_checkpoint: tuple[Path, ...] = ()
    """Networks to measure instead of training any: files that python -m models.import_edm made of
    released pickles.
    """
    data: str = "digits"
    """Data set: digits, moons, eight-gaussians, fashion-mnist, fashion-mnist-16, cifar10, or your
    own: image-folder or image-zip.
    """
    preset: str | None = None
    """Preset to start from (bench/presets/NAME.toml). Default: the one of the data set."""
    data_dir: Path | None = None
    """Folder of the data sets' files; missing ones are downloaded to it. Default: data, below the
    current folder. For image-folder it is the folder of images itself (sub-folders are classes;
    train/ and test/ are the splits, else every 10th image is held out), for image-zip the zip
    itself (labels in dataset.json, as EDM's tool writes it).
    """
    resolution: int | None = None
    """Bring the images of image-folder or image-zip to this many pixels a side: the centred square
    of each, averaged over areas. Default: as stored; they must then be equal squares.
    """
    runs: Path = Path("runs")
    """Folder that receives the run folders, results.csv and report.html."""
    seed: int = 0
    """First seed."""
    seeds: int = 1
    """How many seeds, counted up from --seed."""
    no_baseline: bool = False
    """Do not add the random baseline."""
    execution: Annotated[Execution, tyro.conf.OmitArgPrefixes] = field(default_factory=Execution)
    network: Annotated[NetworkConfig, tyro.conf.OmitArgPrefixes] = field(
        default_factory=NetworkConfig
    )
    training: Annotated[TrainingConfig, tyro.conf.OmitArgPrefixes] = field(
        default_factory=TrainingConfig
    )
    evaluation: Annotated[EvaluationConfig, tyro.conf.OmitArgPrefixes] = field(
        default_factory=EvaluationConfig
    )
    guidance: Literal["none", "discriminator"] = "none"
    """Guide the sampling by a discriminator of real and generated images; it is trained after the
    denoiser.
    """
    dg: Annotated[GuidanceConfig, tyro.conf.arg(name="guidance")] = field(
        default_factory=GuidanceConfig
    )

    def arms(self) -> list[RunConfig]:
        """The checked configuration of every arm, baseline first within each seed.

        With ``from_checkpoint`` the arms are its files, in their order.

        Raises:
            ConfigError: with one line that names the way out.

        """
        if not self.coupling:
            raise ConfigError("--coupling needs at least one name, such as lapjv")
        check_seeds(self.seed, self.seeds)
        check_execution(self.execution, self.training.batch)
        shared = RunConfig(
            self.data, BASELINE, self.seed, self.network, self.training, self.evaluation,
            replace(self.dg, kind=self.guidance), self.resolution,
        )  # fmt: skip
        seeds = range(self.seed, self.seed + self.seeds)
        if self.from_checkpoint:
            files = [check(file_arm(shared, path)) for path in self.from_checkpoint]
            return [replace(arm, seed=seed) for seed in seeds for arm in files]
        names = ((BASELINE,) if not self.no_baseline else ()) + tuple(self.coupling)
        arms = {
            arm.coupling: arm for arm in (check(replace(shared, coupling=name)) for name in names)
        }
        return [replace(arm, seed=seed) for seed in seeds for arm in arms.values()]


def parse(args: list[str]) -> Command:
    """Read the command line; --data and --preset choose the defaults of the rest."""
    import argparse

    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--data", nargs="?", default="digits")
    early.add_argument("--preset", nargs="?")
    known, _ = early.parse_known_args(args)
    base = load_preset(known.preset, known.data or "digits")
    default = Command(
        coupling=Command.coupling if base.coupling == BASELINE else (base.coupling,),
        data=base.data,
        resolution=base.resolution,
        network=base.network,
        training=base.training,
        evaluation=base.evaluation,
        guidance=base.guidance.kind,
        dg=base.guidance,
    )
    return tyro.cli(
        Command,
        prog="python -m bench.run",
        description=DESCRIPTION,
        args=args,
        default=default,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


@plain_torch()
def run(command: Command) -> int:
    """Run every arm of the command, then the report on those that are done; the exit code.

    An arm that fails is one line on stderr, and the next one begins. Among several processes an
    error ends them all, for the others may be waiting for this one.

    Raises:
        ConfigError: what no arm can run with.

    """
    from bench.data import DataError
    from bench.features import FeatureError
    from bench.process.ranks import join

    arms = command.arms()
    files = command.from_checkpoint * command.seeds or (None,) * len(arms)
    ranks = join(command.execution.device)
    refuse_unwritable(command.runs)
    folders = [check_folder(config, command.runs) for config in arms]
    dataset = _checked_data(command, arms, folders, files, ranks)
    errors: list[Exception] = []
    for number, (config, folder, file) in enumerate(zip(arms, folders, files, strict=True), 1):
        try:
            if ranks.first:
                before = ": done before" if is_done(folder, config) else ""
                print(f"[{number}/{len(arms)}] {config.run_id}{before}", flush=True)
            run_arm(
                config,
                command.runs,
                command.execution,
                command.data_dir,
                checkpoint=file,
                dataset=dataset,
            )
        except Exception as error:  # noqa: BLE001 - an unexpected error must not stop the other runs
            if ranks.count > 1:
                raise
            if number == 1 and isinstance(error, ConfigError | DataError | FeatureError):
                raise ConfigError(str(error)) from None  # all arms have these in common
            print(failure_line(folder, error), file=sys.stderr, flush=True)
            errors.append(error)
    if len(errors) == len(arms):
        return 2 if all(isinstance(error, RunFolderError) for error in errors) else 1
    finished = [
        config.run_id for config, folder in zip(arms, folders, strict=True) if _is_done(folder)
    ]
    reported = _report(command, finished) if ranks.first else True
    return int(bool(errors) or not reported)


def _checked_data(
    command: Command,
    arms: list[RunConfig],
    folders: list[RunFolder],
    files: tuple[Path | None, ...],
    ranks: Ranks,
) -> Dataset | None:
    """The data, shown to suit every arm that has work to do; None where none has any.

    Raises:
        ConfigError: they are missing, or do not suit an arm.

    """
    from bench import data

    todo = [
        arm
        for arm in zip(arms, folders, files, strict=True)
        if not ranks.first_does(lambda arm=arm: _settled(*arm))
    ]
    if not todo:
        return None
    try:
        dataset = ranks.first_begins(
            lambda: data.load(command.data, command.data_dir, command.resolution)
        )
    except data.DataError as error:
        raise ConfigError(str(error)) from None
    if ranks.first:
        data.announce(data.describe(dataset))
    for config, folder, file in todo:
        refuse_other_data(folder, dataset)
        refuse_unfit(config, dataset)
        if file is not None:
            network_of(file, dataset)
    return dataset


def _settled(config: RunConfig, folder: RunFolder, _: Path | None) -> bool:
    try:
        return is_settled(folder, config)
    except RunFolderError:
        return False  # reported when this run is reached


def _is_done(folder: RunFolder) -> bool:
    try:
        return folder.is_done()
    except RunFolderError:
        return False  # already reported


def _report(command: Command, finished: list[str]) -> bool:
    """Print the table of the finished arms; write results and page over all that the folder holds;
    whether it worked.

    Neither failure costs the other, nor the runs, so each is one line.
    """
    from reports.build import build
    from reports.files.terminal import terminal_table
    from reports.tables.runs import CannotWrite, ReportError, feature_sizes, read
    from reports.tables.tidy import results

    worked = True
    try:
        runs, _ = read(command.runs, finished)
        print(terminal_table(results(runs), feature_sizes(runs)), flush=True)
    except Exception as error:  # noqa: BLE001 - the files matter more than the table
        print(f"error: no table can be shown: {one_line(error)}", file=sys.stderr)
        worked = False
    try:
        # What cannot be compared is marked, for it is too late to refuse
        report = build(command.runs, mixed=True)
    except CannotWrite as error:
        print(
            f"error: {error.problem}: all runs are kept; make room, and the same command reports"
            " them",
            file=sys.stderr,
        )
        return False
    except ReportError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return False
    print(f"\nresults: {report.csv}\nreport:  {report.html}")
    return worked


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2, a run or a report that failed exit code
    1.
    """
    from bench.process.ranks import leave

    try:
        code = run(parse(sys.argv[1:] if args is None else args))
        leave()
        return code
    except (ConfigError, RunFolderError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command resumes it", file=sys.stderr)
        return 130
    except Exception:  # noqa: BLE001 - one of several processes: it must end without waiting for its threads
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    end_process(worker(main))
