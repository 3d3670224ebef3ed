"""Run folders in, finished runs out; whatever cannot be used is named with its reason."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.record import LARGEST, Measurement, RunFolder
from reports.tables.statistics import BASELINE

OF_TRAINING = ("training.", "network.")
"""How the fields of a configuration begin that mean nothing for a network that was not trained
here.
"""

_DIGITS = 8  # of a file's hash that tell it from others
_MARKS = ("config.json", "status.json", "provenance.json", "metrics.jsonl")
# What tables compute with; other fields are shown
_OF_CONFIG = {"training.images": int, "training.batch": int}
_NEEDED = {"data": str, "coupling": str, "seed": int, "training.pool": int}
_TYPES = {
    "metric": str, "value": (int, float), "nfe": int, "rho": (int, float), "sampler": str, "start": str,
    "guidance": str, "split": str, "n": int, "sigma": (int, float),
}  # fmt: skip
_UNFINISHED = {
    "pending": "not started",
    "running": "not finished: still running, or killed; the same command again finishes it",
}


class ReportError(ValueError):
    """There is nothing to report on; the message is one line and names the way out."""


class CannotWrite(ReportError):
    """The report cannot be written.

    Attributes:
        problem: the message without its way out, for commands that have another one.

    """

    def __init__(self, folder: Path, why: str | None):
        self.problem = f"cannot write to {folder} ({why})"
        super().__init__(f"{self.problem}: choose another folder with --out")


@dataclass(frozen=True)
class Run:
    """One finished run; ``config`` and ``provenance`` are flat, with dotted keys and lists as JSON
    text.
    """

    path: Path
    config: dict[str, object]
    provenance: dict[str, object]
    status: dict[str, object]
    measurements: tuple[Measurement, ...]

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def network(self) -> str | None:
        """SHA-256 of the file of the network that was measured; None where the run trained its own."""
        return self.config.get("checkpoint")


@dataclass(frozen=True)
class Excluded:
    """A folder that is in no figure or table, and why."""

    folder: str
    reason: str


def read(runs_dir: Path, run_ids: list[str] | None = None) -> tuple[list[Run], list[Excluded]]:
    """The finished runs in ``runs_dir``, by name, and the folders that look like runs but cannot be
    used.

    Folders that hold no file of a run (logs, caches) are passed over. ``run_ids`` narrows the
    choice.

    Raises: ReportError: the folder, or a run named in ``run_ids``, does not exist, or there is no
        run folder at all.

    """
    if not runs_dir.is_dir():
        raise ReportError(f"{runs_dir} is no folder: give the folder that holds the run folders")
    folders = {path.name: path for path in sorted(runs_dir.iterdir()) if is_run(path)}
    missing = sorted(set(run_ids or ()) - set(folders))
    if missing:
        raise ReportError(
            f"no run {missing[0]!r} in {runs_dir}: known are {', '.join(folders) or 'none'}"
        )
    if not folders:
        raise ReportError(
            f"no run folder in {runs_dir}: make one with python -m bench.run, or give another"
            " folder"
        )
    chosen = [path for name, path in folders.items() if run_ids is None or name in run_ids]
    runs, excluded = _without_doubles([_read_one(path) for path in chosen])
    return _named_apart(runs), excluded


def feature_sizes(runs: Sequence[Run]) -> dict[str, dict[str, int]]:
    """Run to Frechet distance to the number of features that it is taken in, of the runs that say
    so.
    """
    prefix = "feature_sizes."
    return {
        run.run_id: {
            f"fd_{key.removeprefix(prefix)}": size
            for key, size in run.provenance.items()
            if key.startswith(prefix) and isinstance(size, int)
        }
        for run in runs
    }


def flatten(nested: dict, prefix: str = "") -> dict[str, object]:
    """Nested dictionaries to dotted keys; a list becomes its JSON text."""
    flat: dict[str, object] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = json.dumps(value) if isinstance(value, list) else value
    return flat


def is_run(path: Path) -> bool:
    """Whether a folder holds a file of a run, whole or not."""
    return (
        path.is_dir()
        and not path.name.startswith(".")
        and any((path / mark).exists() for mark in _MARKS)
    )


def _read_one(path: Path) -> Run | Excluded:
    folder = RunFolder(path)
    try:
        if not folder.exists():
            return Excluded(
                path.name, "no config.json: a run that had hardly begun, or no run of this project"
            )
        config, status = flatten(folder.config()), folder.status()
        problem = _config_problem(config) or _status_problem(status)
        if problem:
            return Excluded(path.name, problem)
        run = Run(path, config, flatten(folder.provenance()), status, tuple(folder.measurements()))
    except FileNotFoundError as error:
        return Excluded(path.name, f"{Path(error.filename).name} is missing")
    except OSError as error:
        return Excluded(path.name, f"cannot be read: {error.strerror}")
    except (ValueError, TypeError, AttributeError) as error:
        # A report is handed on; where the runs lay on this machine is nobody's business.
        return Excluded(path.name, f"broken file: {error}".replace(f"{path}/", ""))
    problem = _measurement_problem(run.measurements)
    return Excluded(path.name, problem) if problem else _without_training(run)


def _without_training(run: Run) -> Run:
    """The run without the settings of a training and a network that it did not make, where it
    measured a file.
    """
    if run.network is None:
        return run
    return replace(
        run, config={key: v for key, v in run.config.items() if not key.startswith(OF_TRAINING)}
    )


def _named_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs, with the start of the file's hash in the name of every network that shares its name
    with another.

    And of one that is called like the baseline, which it is not.
    """
    files: dict[str, set[str]] = {}
    for run in runs:
        if run.network:
            files.setdefault(str(run.config["coupling"]), set()).add(run.network)
    shared = {BASELINE, *(name for name, own in files.items() if len(own) > 1)}
    return [
        _with_hash(run) if run.network and run.config["coupling"] in shared else run for run in runs
    ]


def _with_hash(run: Run) -> Run:
    name = f"{run.config['coupling']} ({run.network[:_DIGITS]})"
    return replace(run, config={**run.config, "coupling": name})


def _config_problem(config: dict[str, object]) -> str | None:
    for key, kind in _NEEDED.items():
        if type(config.get(key)) is not kind:
            return f"config.json has no usable {key!r}: not a run of this project"
    for key, value in config.items():
        if not _fits(value):
            return f"config.json holds {key} = {_shown(value)}, which no table can hold"
        if type(value) is not _OF_CONFIG.get(key, type(value)):
            return f"broken file: config.json holds {key} = {_shown(value)}"
    return None


def _fits(value: object) -> bool:
    """Whether a table can hold a value: whole numbers of 64 bits, finite other numbers, text."""
    if isinstance(value, int):
        return abs(value) <= LARGEST
    return not isinstance(value, float) or math.isfinite(value)


def _shown(value: object) -> str:
    """A value in a few characters: a number of thousands of digits could not even be printed."""
    if isinstance(value, int) and abs(value) > LARGEST:
        return "a whole number of more than 64 bits"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _status_problem(status: dict[str, object]) -> str | None:
    state = status.get("state")
    if state == "done":
        return None
    if state == "failed":
        return f"failed: {status.get('reason') or 'no reason given'}"
    return _UNFINISHED.get(str(state), f"unknown state {state!r} in status.json")


def _measurement_problem(measurements: tuple[Measurement, ...]) -> str | None:
    if not measurements:
        return "done, but metrics.jsonl holds no measurement"
    for measurement in measurements:
        for key, kind in _TYPES.items():
            value = getattr(measurement, key)
            optional = key not in ("metric", "value")
            if not (isinstance(value, kind) or (optional and value is None)) or isinstance(
                value, bool
            ):
                return f"broken file: metrics.jsonl holds {key} = {_shown(value)}"
            # A value that is not finite is a result: the run diverged.
            if not (_fits(value) or (key == "value" and isinstance(value, float))):
                return f"metrics.jsonl holds {key} = {_shown(value)}, which no table can hold"
    return None


def _without_doubles(found: list[Run | Excluded]) -> tuple[list[Run], list[Excluded]]:
    """A copied folder would count one seed twice, so of equal configurations the first is kept."""
    runs: dict[str, Run] = {}
    excluded = []
    for item in found:
        if isinstance(item, Excluded):
            excluded.append(item)
            continue
        first = runs.setdefault(json.dumps(item.config, sort_keys=True), item)
        if first is not item:
            excluded.append(
                Excluded(item.run_id, f"same configuration as {first.run_id}, which is included")
            )
    return list(runs.values()), excluded
