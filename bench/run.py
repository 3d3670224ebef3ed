"""One command, one fair comparison: ``python -m bench.run --coupling lapjv``.

Trains one arm for every coupling (and, unless told not to, the ``random`` baseline with the identical configuration),
measures all of them on the same latents, and writes a report. What is done already is reused; what was stopped goes on.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bench.config import (
    ConfigError,
    EvaluationConfig,
    NetworkConfig,
    RunConfig,
    TrainingConfig,
    check,
    load_preset,
)
from bench.record import RunFolder, RunFolderError

if TYPE_CHECKING:
    from bench.data import Dataset

BASELINE = "random"
DESCRIPTION = """Compare couplings for training a diffusion model: train one arm each, sample, measure, report.

The random baseline is trained beside them with the identical configuration; what is done already is reused, and what
was stopped goes on.

Examples:
  python -m bench.run --coupling lapjv
  python -m bench.run --coupling lapjv sinkhorn:epsilon=0.05 minibatch-ot --seeds 3
  python -m bench.run --data fashion-mnist-16 --data-dir data --coupling hungarian:cost=l2
"""


@dataclass(frozen=True)
class Command:
    """What is compared, on what, and where the results go."""

    coupling: tuple[str, ...] = ("lapjv",)
    """Couplings to compare, as name or name:key=value,key=value. The random baseline joins them by itself."""
    data: str = "digits"
    """Data set: digits, moons, eight-gaussians, fashion-mnist, fashion-mnist-16 or cifar10."""
    preset: str | None = None
    """Preset to start from (bench/presets/NAME.toml). Default: the one of the data set."""
    data_dir: Path | None = None
    """Folder of the data sets' files; missing ones are downloaded to it. Default: data, below the current folder."""
    runs: Path = Path("runs")
    """Folder that receives the run folders, results.csv and report.html."""
    seed: int = 0
    """First seed."""
    seeds: int = 1
    """How many seeds, counted up from --seed."""
    no_baseline: bool = False
    """Do not add the random baseline."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    workers: int | None = None
    """Processes that couple pools beside the training; 0 does it in a thread of the trainer. Default: 1 where a GPU
    trains, else 0: on a CPU both share the cores."""
    network: Annotated[NetworkConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=NetworkConfig)
    training: Annotated[TrainingConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=TrainingConfig)
    evaluation: Annotated[EvaluationConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=EvaluationConfig)

    def arms(self) -> list[RunConfig]:
        """The checked configuration of every arm, baseline first within each seed.

        Raises:
            ConfigError: with one line that names the way out.

        """
        if not self.coupling:
            raise ConfigError("--coupling needs at least one name, such as lapjv")
        if self.seeds < 1:
            raise ConfigError(f"--seeds {self.seeds}: at least 1")
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"--workers {self.workers}: 0 or more")
        if self.seed < 0:
            raise ConfigError(f"--seed {self.seed}: 0 or more")
        shared = RunConfig(self.data, BASELINE, self.seed, self.network, self.training, self.evaluation)
        names = ((BASELINE,) if not self.no_baseline else ()) + tuple(self.coupling)
        specs = list(dict.fromkeys(check(replace(shared, coupling=name)).coupling for name in names))
        seeds = range(self.seed, self.seed + self.seeds)
        return [replace(shared, coupling=spec, seed=seed) for seed in seeds for spec in specs]


def parse(args: list[str]) -> Command:
    """Read the command line; --data and --preset choose the defaults of the rest."""
    import argparse

    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--data", nargs="?", default="digits")
    early.add_argument("--preset", nargs="?")
    known, _ = early.parse_known_args(args)
    base = load_preset(known.preset, known.data or "digits")
    default = Command(
        data=base.data,
        network=base.network,
        training=base.training,
        evaluation=base.evaluation,
    )
    return tyro.cli(
        Command,
        prog="python -m bench.run",
        description=DESCRIPTION,
        args=args,
        default=default,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def resolve_device(device: str) -> str:
    """The device to compute on.

    Raises:
        ConfigError: CUDA is asked for and not there.

    """
    import torch

    # TF32 keeps three digits: it would put a floor under truncation errors and order pairs by chance.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: no CUDA device here; leave --device out or say cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def check_folder(config: RunConfig, runs_dir: Path) -> RunFolder:
    """The arm's folder, checked to be of this very configuration.

    Raises:
        ConfigError: its config.json differs, or cannot be read.

    """
    folder = RunFolder(runs_dir / config.run_id)
    try:
        differs = folder.exists() and folder.config() != config.to_dict()
    except ValueError:
        raise ConfigError(f"{folder}/config.json cannot be read: move the folder away, or use other --runs") from None
    if differs:
        raise ConfigError(f"{folder} holds another configuration: move it away, or choose another folder with --runs")
    return folder


def run_arm(
    config: RunConfig,
    runs_dir: Path,
    device: str = "auto",
    data_dir: Path | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> RunFolder:
    """Train and measure one arm in its run folder; done already, it returns at once, stopped, it goes on.

    ``workers`` processes couple the pools; None takes one where a GPU trains, else a thread.

    Raises:
        ConfigError: the configuration cannot run, or the folder holds another one.
        RunFolderError: the folder is locked or cannot be written.
        bench.train.TrainingError: training failed; status.json says why.
        bench.data.DataError: the data is missing or damaged.

    """
    device = resolve_device(device)
    workers = int(device == "cuda") if workers is None else workers
    config = check(config)
    folder = check_folder(config, runs_dir)
    if folder.status()["state"] == "done":
        return folder
    from bench import data

    dataset = data.load(config.data, data_dir)
    _refuse_other_data(folder, dataset)
    with folder.lock():
        if folder.status()["state"] == "done":  # another process finished it while this one waited
            return folder
        try:
            _train_and_measure(config, folder, dataset, device, progress, workers)
        except Exception as error:
            folder.set_status("failed", reason=str(error) or type(error).__name__)
            raise
    return folder


def _train_and_measure(
    config: RunConfig, folder: RunFolder, dataset: Dataset, device: str, progress: bool, workers: int
) -> None:
    from tqdm import tqdm

    from bench import features
    from bench.evaluate import evaluate, rank_warning, training_measurements
    from bench.record import Measurement, provenance, write_json
    from bench.train import total_steps, train

    extractors = [features.load(name, dataset, folder.path.parent / ".cache", device) for name in features.names()]
    origin = provenance(
        device,
        seed=config.seed,
        data_checksum=dataset.checksum,
        features={f.name: f.fingerprint for f in extractors},
        feature_sizes={f.name: f.size for f in extractors},
        earlier_sessions=_earlier_sessions(folder),
    )
    write_json(folder.path / "provenance.json", origin)
    write_json(folder.path / "config.json", config.to_dict())
    folder.set_status("running", stage="training")
    state = train(config, dataset, folder, device, progress, workers)
    images = total_steps(config) * config.training.batch
    folder.add(training_measurements(state.cost, state.seconds, images))
    folder.set_status("running", stage="evaluation")
    for extractor in extractors:
        if line := rank_warning(extractor, dataset, config.evaluation):
            tqdm.write(f"note: {line}")
    start = time.perf_counter()
    found = evaluate(config, state.ema.net, dataset, extractors, device, folder.path / "samples", progress)
    found.append(Measurement("evaluate_seconds", time.perf_counter() - start))
    found += [Measurement("classifier_accuracy", f.accuracy, split="test") for f in extractors if f.accuracy]
    folder.add(found)
    folder.set_status("done")


def _earlier_sessions(folder: RunFolder) -> list[dict]:
    """Who worked on this run before it was stopped: a resumed run names every commit that took part."""
    if not (folder.path / "provenance.json").exists():
        return []
    before = folder.provenance()
    kept = ("started", "git_sha", "git_dirty", "device", "command")
    return [*before.get("earlier_sessions", []), {key: before.get(key) for key in kept}]


def _refuse_other_data(folder: RunFolder, dataset: Dataset) -> None:
    if (folder.path / "provenance.json").exists() and folder.provenance()["data_checksum"] != dataset.checksum:
        raise ConfigError(f"{folder} was begun with other data of the same name: move it away, or use other --runs")


def run(command: Command) -> int:
    """Run every arm of the command, then the report on those that succeeded; the exit code."""
    from bench.data import DataError
    from bench.features import FeatureError
    from bench.train import TrainingError
    from couplings import CouplingError

    arms = command.arms()
    device = resolve_device(command.device)
    folders = [check_folder(config, command.runs) for config in arms]
    failed = 0
    for number, (config, folder) in enumerate(zip(arms, folders, strict=True), 1):
        done = folder.status()["state"] == "done"
        print(f"[{number}/{len(arms)}] {config.run_id}{': done before' if done else ''}", flush=True)
        try:
            run_arm(config, command.runs, device, command.data_dir, workers=command.workers)
        except (DataError, FeatureError) as error:
            raise ConfigError(str(error)) from None
        except (TrainingError, CouplingError) as error:
            print(f"error: {config.coupling}, seed {config.seed}: {error}", file=sys.stderr)
            failed += 1
    if failed == len(arms):
        return 1
    from reports.build import build
    from reports.tables import read_runs, terminal_table

    finished = [config.run_id for config, f in zip(arms, folders, strict=True) if f.status()["state"] == "done"]
    results = read_runs(command.runs, finished)
    print(terminal_table(results))
    report = build(command.runs)
    print(f"\nresults: {report.csv}\nreport:  {report.html}")
    return int(failed > 0)


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    try:
        return run(parse(sys.argv[1:] if args is None else args))
    except (ConfigError, RunFolderError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
