"""One command, one fair comparison: ``python -m bench.run --coupling lapjv``.

Trains one arm for every coupling (and, unless told not to, the ``random`` baseline with the identical configuration),
measures all of them on the same latents, and writes a report. What is done already is reused; what was stopped goes on.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bench.arm import check_folder, file_arm, is_done, run_arm
from bench.check import check, check_execution
from bench.config import ConfigError, EvaluationConfig, Execution, NetworkConfig, RunConfig, TrainingConfig, load_preset
from bench.console import worker
from bench.guidance_config import GuidanceConfig
from bench.record import RunFolderError

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
    """Couplings to compare, as name or name:key=value,key=value. The random baseline joins them by itself."""
    from_checkpoint: tuple[Path, ...] = ()
    """Networks to measure instead of training any: files that python -m models.import_edm made of released pickles."""
    data: str = "digits"
    """Data set: digits, moons, eight-gaussians, fashion-mnist, fashion-mnist-16, cifar10, or your own: image-folder or
    image-zip."""
    preset: str | None = None
    """Preset to start from (bench/presets/NAME.toml). Default: the one of the data set."""
    data_dir: Path | None = None
    """Folder of the data sets' files; missing ones are downloaded to it. Default: data, below the current folder.
    For image-folder it is the folder of images itself (sub-folders are classes; train/ and test/ are the splits, else
    every 10th image is held out), for image-zip the zip itself (labels in dataset.json, as EDM's tool writes it)."""
    resolution: int | None = None
    """Bring the images of image-folder or image-zip to this many pixels a side: the centred square of each, averaged
    over areas. Default: as stored; they must then be equal squares."""
    runs: Path = Path("runs")
    """Folder that receives the run folders, results.csv and report.html."""
    seed: int = 0
    """First seed."""
    seeds: int = 1
    """How many seeds, counted up from --seed."""
    no_baseline: bool = False
    """Do not add the random baseline."""
    execution: Annotated[Execution, tyro.conf.OmitArgPrefixes] = field(default_factory=Execution)
    network: Annotated[NetworkConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=NetworkConfig)
    training: Annotated[TrainingConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=TrainingConfig)
    evaluation: Annotated[EvaluationConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=EvaluationConfig)
    guidance: Literal["none", "discriminator"] = "none"
    """Guide the sampling by a discriminator of real and generated images; it is trained after the denoiser."""
    dg: Annotated[GuidanceConfig, tyro.conf.arg(name="guidance")] = field(default_factory=GuidanceConfig)

    def arms(self) -> list[RunConfig]:
        """The checked configuration of every arm, baseline first within each seed.

        With ``from_checkpoint`` the arms are its files, in their order.

        Raises:
            ConfigError: with one line that names the way out.

        """
        if not self.coupling:
            raise ConfigError("--coupling needs at least one name, such as lapjv")
        if self.seeds < 1:
            raise ConfigError(f"--seeds {self.seeds}: at least 1")
        check_execution(self.execution, self.training.batch)
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed}: 0 or more")
        shared = RunConfig(
            self.data, BASELINE, self.seed, self.network, self.training, self.evaluation,
            replace(self.dg, kind=self.guidance), self.resolution,
        )  # fmt: skip
        seeds = range(self.seed, self.seed + self.seeds)
        if self.from_checkpoint:
            files = [check(file_arm(shared, path)) for path in self.from_checkpoint]
            return [replace(arm, seed=seed) for seed in seeds for arm in files]
        names = ((BASELINE,) if not self.no_baseline else ()) + tuple(self.coupling)
        arms = {arm.coupling: arm for arm in (check(replace(shared, coupling=name)) for name in names)}
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


def run(command: Command) -> int:
    """Run every arm of the command, then the report on those that succeeded; the exit code."""
    from bench.data import DataError
    from bench.features import FeatureError
    from bench.guide import GuideError
    from bench.ranks import join
    from bench.train import TrainingError
    from couplings import CouplingError
    from models.discriminator import EncoderRefused

    arms = command.arms()
    files = command.from_checkpoint * command.seeds or (None,) * len(arms)
    ranks = join(command.execution.device)
    folders = [check_folder(config, command.runs) for config in arms]
    failed = 0
    for number, (config, folder, file) in enumerate(zip(arms, folders, files, strict=True), 1):
        if ranks.first:
            before = ": done before" if is_done(folder, config) else ""
            print(f"[{number}/{len(arms)}] {config.run_id}{before}", flush=True)
        try:
            run_arm(config, command.runs, command.execution, command.data_dir, checkpoint=file)
        except (DataError, FeatureError) as error:
            raise ConfigError(str(error)) from None
        except (TrainingError, CouplingError, GuideError, EncoderRefused) as error:
            if ranks.count > 1:
                raise  # the other processes may be waiting for this one
            print(f"error: {config.run_id}: {error}", file=sys.stderr)
            failed += 1
    if failed == len(arms):
        return 1
    if ranks.first:
        _report(command, [config.run_id for config, f in zip(arms, folders, strict=True) if f.is_done()])
    return int(failed > 0)


def _report(command: Command, finished: list[str]) -> None:
    """Print the table of the finished arms; write results and page over all that the folder holds."""
    from reports.build import build
    from reports.runs import feature_sizes, read
    from reports.tables import results
    from reports.terminal import terminal_table

    runs, _ = read(command.runs, finished)
    print(terminal_table(results(runs), feature_sizes(runs)))
    report = build(command.runs, mixed=True)  # what cannot be compared is marked, for it is too late to refuse
    print(f"\nresults: {report.csv}\nreport:  {report.html}")


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    from bench.ranks import leave

    try:
        code = run(parse(sys.argv[1:] if args is None else args))
        leave()
        return code
    except (ConfigError, RunFolderError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(worker(main))
