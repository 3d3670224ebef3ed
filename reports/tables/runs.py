"""Reader of run folders: finished runs, and the folders that cannot be used, with their reasons."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.record import LARGEST, Measurement, RunFolder, shareable
from bench.record.infos import Info, read_infos
from reports.tables.arms import BASELINE

# Starts of the names of fields that mean nothing for a network that was not trained here.
OF_TRAINING = ("training.", "network.")

_DIGITS = 8  # of a file's hash; enough to distinguish files that share a name
_LONGEST = 40  # characters of a bad value in a message
# A folder with any of these files was meant to be a run.
_MARKS = ("config.json", "status.json", "provenance.json", "metrics.jsonl")
_NEEDED = {"data": str, "coupling": str, "seed": int, "training.pool": int}
# Tables compute with these fields; all others are only shown.
_OF_CONFIG = {"training.images": int, "training.batch": int}
_NUMBER = (int, float)
_TYPES: dict[str, Any] = {
    "metric": str,
    "value": _NUMBER,
    "nfe": int,
    "rho": _NUMBER,
    "sampler": str,
    "start": str,
    "guidance": str,
    "split": str,
    "n": int,
    "sigma": _NUMBER,
    "schedule": str,
}
_UNFINISHED = {
    "pending": "not started",
    "running": "not finished: still running, or killed; run the same command to resume it",
    "stopped": "not finished: stopped; run the same command to resume it",
}


class ReportError(ValueError):
    """There is nothing to report on; the message is one line and names the way out."""


class CannotWrite(ReportError):
    """The report cannot be written.

    Attributes:
        problem: the message without its advice, for commands that give other advice.

    """

    def __init__(self, folder: Path, why: str | None):
        self.problem = f"cannot write to {folder} ({why})"
        super().__init__(f"{self.problem}: choose another folder with --out")


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        path: its folder.
        config: flat, with dotted keys and lists as JSON text.
        provenance: likewise.
        status: likewise.
        measurements: its results.
        infos: descriptions of its metrics, in the order of the report; empty for runs of earlier
            versions.
        study: the folder, bundle or results.csv that it was read from, for messages.
        from_csv: True if that is a results.csv, which has no pictures, no descriptions of metrics
            and little of the provenance.
        configured: False if its configuration is not known: a results.csv of earlier versions has
            no columns for it.

    """

    path: Path
    config: dict[str, Any]
    provenance: dict[str, Any]
    status: dict[str, Any]
    measurements: tuple[Measurement, ...]
    infos: tuple[Info, ...] = ()
    study: str = ""
    from_csv: bool = False
    configured: bool = True

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def network(self) -> str | None:
        """SHA-256 of the file of the network that was measured; None if the run trained its own.

        That of its name for a network of another program.
        """
        return self.config.get("checkpoint")

    @property
    def trainer(self) -> str | None:
        """The training by another program, as its user calls it; None for other runs."""
        return self.config.get("trainer")


@dataclass(frozen=True)
class Excluded:
    """A folder that is in no figure or table, with the reason."""

    folder: str
    reason: str


def read(runs_dir: Path, run_ids: list[str] | None = None) -> tuple[list[Run], list[Excluded]]:
    """The finished runs in a folder, by name, and the folders that look like runs but cannot be
    used.

    Folders that hold no file of a run (logs, caches) are skipped.

    Args:
        runs_dir: folder that holds run folders.
        run_ids: names of the runs to read; by default all.

    Raises:
        ReportError: the folder, or a run named in ``run_ids``, does not exist, or there is no run
            folder at all.

    """
    runs, excluded = read_folder(runs_dir, run_ids)
    return with_unique_names(runs), excluded


def read_folder(
    runs_dir: Path, run_ids: list[str] | None = None
) -> tuple[list[Run], list[Excluded]]:
    """As ``read``, with networks from files under the names that their configurations have."""
    if not runs_dir.is_dir():
        raise ReportError(f"{runs_dir} is not a folder: give the folder that holds the run folders")
    # Sorted, because file systems list in any order, and equal runs must give equal bytes.
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
    return _without_doubles([_read_one(path) for path in chosen])


def feature_sizes(runs: Sequence[Run]) -> dict[str, dict[str, int]]:
    """Run to Fréchet distance to its number of features, for runs that record it."""
    return {run.run_id: _feature_sizes(run) for run in runs}


def _feature_sizes(run: Run) -> dict[str, int]:
    prefix = "feature_sizes."
    sizes = {}
    for key, size in run.provenance.items():
        if key.startswith(prefix) and isinstance(size, int):
            sizes[f"fd_{key.removeprefix(prefix)}"] = size
    return sizes


def flatten(nested: dict, prefix: str = "") -> dict[str, object]:
    """Nested dictionaries to dotted keys; a list becomes its JSON text."""
    flat: dict[str, object] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            # A list cannot be a member of a set or the key of a group; its text can.
            flat[prefix + key] = json.dumps(value) if isinstance(value, list) else value
    return flat


def is_run(path: Path) -> bool:
    """True for a folder that holds a file of a run, complete or not."""
    if not path.is_dir() or path.name.startswith("."):
        return False
    return any((path / mark).exists() for mark in _MARKS)


def _read_one(path: Path) -> Run | Excluded:
    folder = RunFolder(path)
    try:
        if not folder.exists():
            return Excluded(
                path.name, "no config.json: a run that had hardly begun, or no run of this project"
            )
        config = flatten(folder.config())
        status = folder.status()
        # The status before the measurements: a run at work may be writing to metrics.jsonl.
        problem = _config_problem(config) or _status_problem(status)
        if problem:
            return Excluded(path.name, problem)
        # Pages are passed on.
        provenance = flatten(shareable(folder.provenance()))
        measurements = tuple(folder.measurements())
        infos = tuple(read_infos(path).values())
        run = Run(path, config, provenance, status, measurements, infos)
    # Each of these is one bad folder among good ones, so the report goes without it.
    except FileNotFoundError as error:
        # Before OSError, of which it is a kind: which file it is helps more than "No such file".
        return Excluded(path.name, f"{Path(error.filename).name} is missing")
    except OSError as error:
        return Excluded(path.name, f"cannot be read: {error.strerror}")
    except (ValueError, TypeError, AttributeError) as error:
        # Reports are passed on, so they must not name folders of this machine.
        return Excluded(path.name, f"broken file: {error}".replace(f"{path}/", ""))
    problem = _measurement_problem(run.measurements)
    return Excluded(path.name, problem) if problem else _without_training(run)


def _without_training(run: Run) -> Run:
    """The run without settings of training and network if it measured a file: it used neither."""
    if run.network is None:
        return run
    used = {key: v for key, v in run.config.items() if not key.startswith(OF_TRAINING)}
    return replace(run, config=used)


def with_unique_names(runs: Sequence[Run]) -> list[Run]:
    """The runs, with the start of the file's hash in the name of networks that share their name.

    A network from a file that is called like the baseline gets it too, because it is not the
    baseline.
    """
    files: dict[str, set[str]] = {}
    for run in runs:
        # The couplings of another program are what its user says, its random pairing too.
        if run.network and not run.trainer:
            files.setdefault(str(run.config["coupling"]), set()).add(run.network)
    shared = {BASELINE}
    shared.update(name for name, networks in files.items() if len(networks) > 1)
    named = []
    for run in runs:
        is_file = run.network and not run.trainer
        is_shared = is_file and run.config["coupling"] in shared
        named.append(_with_hash(run) if is_shared else run)
    return named


def _with_hash(run: Run) -> Run:
    name = f"{run.config['coupling']}{hash_in_name(run.network)}"
    return replace(run, config={**run.config, "coupling": name})


def hash_in_name(network: str | None) -> str:
    """The end of the name of a network from a file that shares its name."""
    return f" ({network[:_DIGITS]})" if network else ""


def _config_problem(config: dict[str, object]) -> str | None:
    for key, kind in _NEEDED.items():
        # Not isinstance, for which True is a whole number and thus a seed.
        if type(config.get(key)) is not kind:
            return f"config.json has no usable {key!r}: not a run of this project"
    for key, value in config.items():
        if not _fits(value):
            return f"config.json holds {key} = {_shown(value)}, which no table can hold"
        if type(value) is not _OF_CONFIG.get(key, type(value)):
            return f"broken file: config.json holds {key} = {_shown(value)}"
    return None


def _fits(value: object) -> bool:
    """True if a table can hold a value: whole numbers of 64 bits, finite other numbers, text."""
    if isinstance(value, int):
        return abs(value) <= LARGEST
    return not isinstance(value, float) or math.isfinite(value)


def _shown(value: object) -> str:
    """A value in a few characters: a number of thousands of digits could not even be printed."""
    if isinstance(value, int) and abs(value) > LARGEST:
        return "a whole number of more than 64 bits"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


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
            if value is None and key not in ("metric", "value"):
                continue
            # bool is an int to isinstance.
            if not isinstance(value, kind) or isinstance(value, bool):
                return f"broken file: metrics.jsonl holds {key} = {_shown(value)}"
            # A value that is not finite is a result: the run diverged.
            if not _fits(value) and not (key == "value" and isinstance(value, float)):
                return f"metrics.jsonl holds {key} = {_shown(value)}, which no table can hold"
    return None


def _without_doubles(folders: list[Run | Excluded]) -> tuple[list[Run], list[Excluded]]:
    """The runs without copies, which would count one seed twice, and the other folders."""
    runs: dict[str, Run] = {}
    excluded = []
    for item in folders:
        if isinstance(item, Excluded):
            excluded.append(item)
            continue
        # Names of folders may differ: the configuration says what a run is.
        first = runs.setdefault(json.dumps(item.config, sort_keys=True), item)
        if first is not item:
            excluded.append(
                Excluded(item.run_id, f"same configuration as {first.run_id}, which is included")
            )
    return list(runs.values()), excluded
