"""What has been measured in a run so far: nothing is measured twice, and numbers of two rulers
never stand together.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from bench.config import RunConfig
from bench.record import Measurement, RunFolder, RunFolderError, write_json


@dataclass(frozen=True)
class Task:
    """Something to measure, recorded as a whole.

    Attributes:
        part: what, such as ``truncation`` or the name of features.
        setting: how the images were sampled, by name; empty where none are needed.
        n: number of images behind it.
        fingerprint: of the features, where it takes any.

    """

    part: str
    setting: str
    n: int
    fingerprint: str | None = None


class Ledger:
    """The record of an evaluation over all its sessions, in ``evaluation.json``.

    It says what the measurements come from. Where that is not what is measured now, such as other
    weights or another classifier, those measurements are removed from the run.
    """

    def __init__(self, folder: RunFolder, origin: dict[str, object], fingerprints: dict[str, str]):
        """Open the record; what has another origin, or comes from other features of the same name,
        is dropped.

        Raises:
            RunFolderError: it cannot be read.

        """
        self.folder, self.path, self.clock = (
            folder,
            folder.path / "evaluation.json",
            time.perf_counter(),
        )
        content = _read(folder)
        kept = content["done"] if content["origin"] == origin else []
        kept = [
            e for e in kept if fingerprints.get(e["part"], e["fingerprint"]) == e["fingerprint"]
        ]
        rows = {tuple(key) for entry in kept for key in entry["rows"]}
        stale = {tuple(key) for entry in content["done"] for key in entry["rows"]} - rows
        if stale:
            folder.remove(stale)
        there = {m.key for m in folder.measurements()}
        kept = [entry for entry in kept if {tuple(key) for key in entry["rows"]} <= there]
        if content["origin"] != origin or kept != content["done"]:
            content |= {"origin": origin, "done": kept, "finished": []}
            write_json(self.path, content)
        self.content = content

    def holds(self, task: Task) -> bool:
        """Whether this was measured."""
        return self._entry(task) is not None

    def rows(self, tasks: Iterable[Task]) -> list[Measurement]:
        """What was measured, task by task, in the order it was recorded in."""
        by_key = {m.key: m for m in self.folder.measurements()}
        return [by_key[tuple(key)] for task in tasks for key in self._entry(task)["rows"]]

    def add(self, tasks: Sequence[tuple[Task, list[Measurement]]]) -> None:
        """Record what was measured, and the time until now."""
        now = time.perf_counter()
        seconds, self.clock = self.content["seconds"] + now - self.clock, now
        rows = [row for _, found in tasks for row in found]
        self.folder.add([*rows, Measurement("evaluate_seconds", seconds)])
        done = [{**asdict(task), "rows": [list(row.key) for row in found]} for task, found in tasks]
        self.content |= {"done": [*self.content["done"], *done], "seconds": seconds}
        write_json(self.path, self.content)

    def finish(self, config: RunConfig) -> None:
        """Record that all that ``config`` asks for is measured."""
        finished = sorted({*self.content["finished"], _digest(config)})
        self.content |= {"finished": finished, "asked": config.measured}
        write_json(self.path, self.content)

    def _entry(self, task: Task) -> dict | None:
        return next(
            (
                e
                for e in self.content["done"]
                if {**e, "rows": None} == {**asdict(task), "rows": None}
            ),
            None,
        )


def is_finished(folder: RunFolder, config: RunConfig) -> bool:
    """Whether a run holds all that ``config`` asks for."""
    return _digest(config) in _read(folder)["finished"]


def is_whole(folder: RunFolder) -> bool:
    """Whether a run holds all that some evaluation asked for, so that it can be reported."""
    return bool(_read(folder)["finished"])


def last_asked(folder: RunFolder) -> dict | None:
    """What was measured last, as in ``RunConfig.measured``; None where nothing was finished."""
    return _read(folder).get("asked")


def _read(folder: RunFolder) -> dict:
    path = folder.path / "evaluation.json"
    empty = {"origin": None, "done": [], "finished": [], "seconds": 0.0}
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else empty
    except ValueError:
        raise RunFolderError(
            f"{path} is damaged: delete it, the measurements are made again"
        ) from None


def _digest(config: RunConfig) -> str:
    return hashlib.sha256(json.dumps(config.measured, sort_keys=True).encode()).hexdigest()[:16]
