"""Measure trained runs again, with more of anything: ``python -m bench.evaluate RUN --nfe 11 21``.

Trains nothing. What a run holds already is not measured again, and no row is ever doubled.
"""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bench.arm import run_arm
from bench.check import check
from bench.config import ConfigError, EvaluationConfig, Execution, RunConfig, from_dict, load_preset
from bench.config.guidance import GuidanceConfig
from bench.evaluation.ledger import last_asked
from bench.process.background import end_process
from bench.process.console import worker
from bench.process.defaults import plain_torch
from bench.record import RunFolder, RunFolderError
from bench.record.failures import failure_line, one_line
from bench.suitable import network_digest

DESCRIPTION = """Measure trained runs again: other evaluations, exponents, samplers, features, more samples.

Adds rows to each run's metrics.jsonl; what is there already is not measured again. Options default to what the first
run was last measured with.

Examples:
  python -m bench.evaluate runs/digits-lapjv-* --nfe 11 21
  python -m bench.evaluate runs/cifar10-* --features inception --samples 50000 --metrics samples grid
  python -m bench.evaluate runs/digits-* --samplers euler dopri5:tolerance=1e-4
"""


@dataclass(frozen=True)
class Command:
    """Which runs, and what to measure in them."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of finished runs."""
    data_dir: Path | None = None
    """Folder of the data sets' files, as for bench.run."""
    from_checkpoint: tuple[Path, ...] = ()
    """The network files of runs that measured such files."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute: auto, cpu or cuda."""
    keep_samples: bool = False
    """Keep the generated images (RUN/samples/)."""
    evaluation: Annotated[EvaluationConfig, tyro.conf.OmitArgPrefixes] = field(
        default_factory=EvaluationConfig
    )
    guidance: Literal["none", "discriminator"] = "none"
    """Guide the sampling by a discriminator of real and generated images; it is trained first."""
    dg: Annotated[GuidanceConfig, tyro.conf.arg(name="guidance")] = field(
        default_factory=GuidanceConfig
    )


def trained(
    folder: RunFolder, evaluation: EvaluationConfig, guidance: GuidanceConfig | None = None
) -> RunConfig:
    """The configuration of a trained run, to be measured as ``evaluation`` and ``guidance`` say.

    Raises: ConfigError: it is no run, not trained yet, not in its own folder, or these settings
        belong to another run.

    """
    if not folder.exists():
        raise ConfigError(
            f"{folder}: no run folder; name one that bench.run made, such as runs/digits-lapjv-..."
        )
    own, state = from_dict(folder.config()), folder.status()["state"]
    if not (own.checkpoint or any(m.metric == "train_seconds" for m in folder.measurements())):
        raise ConfigError(
            f"{folder} is not trained to its end ({state}): bench.run goes on with it first"
        )
    if not own.checkpoint and not (folder.path / "checkpoint.pt").exists():
        raise ConfigError(
            f"{folder} has no checkpoint.pt any more, so there is nothing to measure: train it"
            " again"
        )
    config = check(replace(own, evaluation=evaluation, guidance=guidance or own.guidance))
    if config.run_id != folder.run_id:
        raise ConfigError(
            f"{folder} is {own.run_id}: give it back its name"
            if own.run_id != folder.run_id
            else (
                f"{folder} has its own --sigma-min, --sigma-max, --reference-steps and --class-law;"
                " with others it is another run: bench.run makes it, with the network of this one"
            )
        )
    return config


def parse(args: list[str]) -> Command:
    """Read the command line; the first run gives the defaults."""
    import argparse

    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("runs", nargs="*", type=Path)
    known, _ = early.parse_known_args(args)
    default = RunConfig()
    # Values of options lie among them.
    folder = next((RunFolder(path) for path in known.runs if RunFolder(path).exists()), None)
    if folder is not None:
        own = from_dict(folder.config())
        asked = last_asked(folder) or load_preset(None, own.data).measured
        asked["evaluation"] |= folder.config()["evaluation"]
        default = from_dict(asked)
    return tyro.cli(
        Command,
        prog="python -m bench.evaluate",
        description=DESCRIPTION,
        args=args,
        default=Command(
            runs=tyro.MISSING,
            evaluation=default.evaluation,
            guidance=default.guidance.kind,
            dg=default.guidance,
        ),
        config=(tyro.conf.FlagCreatePairsOff,),
    )


@plain_torch()
def run(command: Command) -> int:
    """Measure every run; the exit code. A run that fails is one line on stderr, and the next one
    begins.

    Raises:
        ConfigError: what no run can be measured with.

    """
    from bench.data import DataError
    from bench.features import FeatureError
    from bench.process.ranks import join

    if not command.runs:
        raise ConfigError("which runs? python -m bench.evaluate runs/digits-lapjv-... --nfe 11 21")
    files = {network_digest(path): path for path in command.from_checkpoint}
    guidance = replace(command.dg, kind=command.guidance)
    configs = [trained(RunFolder(path), command.evaluation, guidance) for path in command.runs]
    for path, config in zip(command.runs, configs, strict=True):
        if config.checkpoint and config.checkpoint not in files:
            what = (
                "none of these files is the network that it measured"
                if files
                else "it measured a network file"
            )
            raise ConfigError(f"{path}: {what}: name that file with --from-checkpoint")
    execution = Execution(device=command.device, keep_samples=command.keep_samples)
    ranks = join(command.device)
    say = print if ranks.first else lambda *_, **__: None
    failed = 0
    for number, (path, config) in enumerate(zip(command.runs, configs, strict=True), 1):
        say(f"[{number}/{len(configs)}] {config.run_id}", flush=True)
        try:
            before = {m.key for m in RunFolder(path).measurements()}
            folder = run_arm(
                config,
                path.parent,
                execution,
                command.data_dir,
                checkpoint=files.get(config.checkpoint),
            )
            say(f"{len({m.key for m in folder.measurements()} - before)} rows added", flush=True)
        except Exception as error:  # noqa: BLE001 - an unexpected error must not stop the other runs
            if ranks.count > 1:
                raise  # the other processes may be waiting for this one
            if number == 1 and isinstance(error, ConfigError | DataError | FeatureError):
                raise ConfigError(one_line(error)) from None  # all runs have these in common
            print(failure_line(RunFolder(path), error), file=sys.stderr, flush=True)
            failed += 1
    if failed < len(configs):
        say(f"python -m reports.build {command.runs[0].parent} shows them")
    return int(failed > 0)


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
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
