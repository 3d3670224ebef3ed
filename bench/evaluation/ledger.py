"""Record of what has been measured in a run: nothing is measured twice, and rows that were measured
with other weights or features are dropped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

from bench import metrics
from bench.config import RunConfig
from bench.record import Measurement, RunFolder, RunFolderError, write_json
from bench.record.best_schedule import BEST, EARLIER_BEST, GRID, SEEDS
from bench.record.files import digest
from bench.record.infos import read_infos, write_infos


@dataclass(frozen=True)
class Task:
    """Something to measure, recorded as a whole.

    Attributes:
        metric: name of the metric.
        setting: how the samples were drawn, by name; of a metric without samples, its item.
        n: number of samples.
        features: name of the features that samples are measured in; None if in none.
        fingerprint: of the features, if it takes any.

    """

    metric: str
    setting: str
    n: int
    features: str | None = None
    fingerprint: str | None = None


Recorded = tuple[Task, list[Measurement]]

# Names of tasks in evaluation.json of earlier versions, which had one task for all metrics of
# samples in some features.
_EARLIER = {
    "discriminator": "discriminator",
    "learning": "learning-signal",
    "local": "local-error",
    "passes": "discriminator-passes",
    "paths": "paths",
    "start": "prior-error",
    "truncation": "truncation",
    "w2": "w2",
}
_EARLIER_IN_FEATURES = {GRID: "grid", "mode_mixture_": "mode-mixture"}
_EARLIER_SAMPLES = ("classes", "copies", "frechet", "kid", "prdc")


class Ledger:
    """The record of an evaluation over all its sessions, in ``evaluation.json``.

    It says what the measurements come from. If that is not what is measured now, such as other
    weights or another classifier, those measurements are removed from the run.
    """

    def __init__(
        self,
        folder: RunFolder,
        origin: dict[str, object],
        fingerprints: dict[str, str],
        own: Iterable[str] = (),
    ) -> None:
        """Open the record, and drop what has another origin or comes from other features.

        Args:
            folder: of the run.
            origin: all that samples depend on, in addition to their setting.
            fingerprints: of features, by name.
            own: names of a user's metrics, which are described in ``metrics.json`` too.

        Raises:
            RunFolderError: it cannot be read.

        """
        self.folder = folder
        self.path = folder.path / "evaluation.json"
        # Not the time of day, which a machine may correct while an evaluation runs.
        self.clock = time.perf_counter()
        self.own = tuple(own)
        content = _read(folder)
        entries = content["done"] if content["origin"] == origin else []
        valid = [entry for entry in entries if _is_current(entry, fingerprints)]
        # Only rows that the record lists: those of the training stay valid.
        stale = _keys(content["done"]) - _keys(valid)
        if stale:
            # A best schedule has no entry of its own, but it depends on the rows that chose it.
            folder.remove(stale | _chosen_by(folder, stale))
        # An entry counts only with all of its rows.
        # A run that was stopped between two writes may have lost rows that the record lists.
        there = {row.key for row in folder.measurements()}
        valid = [entry for entry in valid if _keys([entry]) <= there]
        if content["origin"] != origin or valid != content["done"]:
            content |= {"origin": origin, "done": valid, "finished": []}
            write_json(self.path, content)
        self.content = content

    def holds(self, task: Task) -> bool:
        """True if this was measured."""
        return self._entry(task) is not None

    def rows(self, tasks: Iterable[Task]) -> list[Measurement]:
        """Measurements of tasks that it holds, task by task, in the order they were recorded in."""
        by_key = {row.key: row for row in self.folder.measurements()}
        rows = []
        for task in tasks:
            for key in self._entry(task)["rows"]:
                rows.append(by_key[_whole_key(key)])
        return rows

    def add(self, recorded: Sequence[Recorded]) -> None:
        """Record measurements, and the time until now."""
        now = time.perf_counter()
        seconds = self.content["seconds"] + now - self.clock
        self.clock = now
        rows = []
        done = list(self.content["done"])
        for task, of_task in recorded:
            rows += of_task
            done.append({**asdict(task), "rows": [list(row.key) for row in of_task]})
        # The rows first: an entry whose rows are missing is dropped, rows without an entry are
        # measured again.
        self.folder.add([*rows, Measurement("evaluate_seconds", seconds)])
        self.content |= {"done": done, "seconds": seconds}
        write_json(self.path, self.content)
        self.describe()

    def searched(self, fixed: str) -> list[Measurement]:
        """Rows of the search for the best schedule; see ``searched``."""
        return _searched(self.content, self.folder, fixed)

    def describe(self) -> None:
        """Write ``metrics.json``: descriptions of all metrics that the run holds."""
        names = {row.metric for row in self.folder.measurements()}
        try:
            before = read_infos(self.folder.path)
        except ValueError as error:
            raise RunFolderError(str(error)) from None
        described = {info.name: info for info in metrics.infos(names, self.own)}
        # A user's metric that is not asked for this time keeps its description.
        for name in names & before.keys() - described.keys():
            described[name] = before[name]
        # Files are written only when something changed: this runs after every task.
        order = sorted(described.values(), key=lambda info: (info.place, info.name))
        if order != list(before.values()):
            write_infos(self.folder.path, order)

    def finish(self, config: RunConfig) -> None:
        """Record that all that ``config`` asks for is measured."""
        # Earlier requests stay finished, because their rows are still in the run.
        finished = sorted({*self.content["finished"], _digest(config)})
        self.content |= {"finished": finished, "asked": config.measured}
        write_json(self.path, self.content)

    def _entry(self, task: Task) -> dict | None:
        wanted = asdict(task)
        for entry in self.content["done"]:
            if all(entry[name] == value for name, value in wanted.items()):
                return entry
        return None


def record_best(folder: RunFolder, chosen: Sequence[Measurement], seeds: int) -> list[Measurement]:
    """Record the best schedules, and how many runs chose them together; the rows of both.

    Rows of an earlier choice in the same features are replaced.
    """
    names = sorted({row.metric for row in chosen})
    counts = [Measurement(name.replace(BEST, SEEDS), float(seeds)) for name in names]
    earlier_names = [name.replace(BEST, EARLIER_BEST) for name in names]
    measured = folder.measurements()
    earlier = {row.key for row in measured if row.metric in (*names, *earlier_names)}
    # The number of images is part of a row's key, so a new pass would leave the old choice.
    stale = earlier - {row.key for row in chosen}
    if stale:
        folder.remove(stale)
    rows = [*chosen, *counts]
    if any(row not in measured for row in rows):
        folder.add(rows)
    return rows


def search_name(setting: str, fixed: str) -> str:
    """Name of a setting of the search in a task: its rows are relative to the fixed schedule."""
    return f"{setting} against {fixed}"


def searched(folder: RunFolder, fixed: str) -> list[Measurement]:
    """Rows of a run's search for the best schedule, of all its evaluations with one fixed schedule.

    Raises:
        RunFolderError: they cannot be read.

    """
    return _searched(_read(folder), folder, fixed)


def _searched(content: dict, folder: RunFolder, fixed: str) -> list[Measurement]:
    keys = set()
    for entry in content["done"]:
        # Settings of earlier versions do not end so: their samples were those of the evaluation.
        if entry["setting"].endswith(search_name("", fixed)):
            keys |= _keys([entry])
    return [row for row in folder.measurements() if row.key in keys]


def is_finished(folder: RunFolder, config: RunConfig) -> bool:
    """True if a run holds all that ``config`` asks for."""
    return _digest(config) in _read(folder)["finished"]


def is_whole(folder: RunFolder) -> bool:
    """True if a run holds all that some evaluation asked for, so that it can be reported."""
    return bool(_read(folder)["finished"])


def last_asked(folder: RunFolder) -> dict | None:
    """The settings of the last evaluation, as in ``RunConfig.measured``; None if none was
    finished.
    """
    return _read(folder).get("asked")


def measured_weights(folder: RunFolder) -> str | None:
    """The digest of the weights that a run's measurements come from; None before any."""
    origin = _read(folder)["origin"]
    return origin["weights"] if origin else None


def _is_current(entry: dict, fingerprints: dict[str, str]) -> bool:
    """False if an entry comes from other features of the same name."""
    # Features that are not loaded this time cannot be compared, so their entries stay.
    return fingerprints.get(entry["features"], entry["fingerprint"]) == entry["fingerprint"]


def _keys(entries: Iterable[dict]) -> set[tuple]:
    """Keys of all measurements of some entries."""
    keys = set()
    for entry in entries:
        keys |= {_whole_key(key) for key in entry["rows"]}
    return keys


def _whole_key(key: Sequence) -> tuple:
    """The key of a measurement from its record.

    Earlier versions had fewer fields. Later ones are added at the end, so the missing are None.
    """
    return (*key, *[None] * (len(fields(Measurement)) - 1 - len(key)))


def _chosen_by(folder: RunFolder, stale: set[tuple]) -> set[tuple]:
    """Keys of the best schedules that were chosen by rows of these keys."""
    choices = set()
    for metric in {key[0] for key in stale if key[0].startswith(GRID)}:
        choices |= {metric.replace(GRID, name) for name in (BEST, SEEDS, EARLIER_BEST)}
    return {row.key for row in folder.measurements() if row.metric in choices}


def _read(folder: RunFolder) -> dict:
    path = folder.path / "evaluation.json"
    if not path.exists():
        return {"origin": None, "done": [], "finished": [], "seconds": 0.0}
    done: list[dict] = []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for entry in content["done"]:
            done += [entry] if "metric" in entry else _translated(entry)
        return {**content, "done": done, "finished": list(content["finished"])}
    except (ValueError, KeyError, TypeError, AttributeError):
        # Valid JSON of another shape is as useless as half a file.
        raise RunFolderError(
            f"{path} is damaged: delete it, the measurements are made again"
        ) from None


def _translated(entry: dict) -> list[dict]:
    """Entries of today for one of an earlier version, so that it is not measured again."""
    part = entry["part"]
    rest = {name: entry[name] for name in ("setting", "n", "fingerprint", "rows")}
    if part in _EARLIER:
        return [{"metric": _EARLIER[part], "features": None, **rest}]
    for prefix, metric in _EARLIER_IN_FEATURES.items():
        if part.startswith(prefix):
            return [{"metric": metric, "features": part.removeprefix(prefix), **rest}]
    # The part is the name of features: one entry for all metrics of samples.
    of_metric: dict[str, list] = {name: [] for name in _EARLIER_SAMPLES}
    for key in entry["rows"]:
        owner = metrics.owner(key[0])
        if owner is not None and owner[0] in of_metric:
            of_metric[owner[0]].append(key)
    translated = []
    for name, rows in of_metric.items():
        if rows:
            translated.append({"metric": name, "features": part, **rest, "rows": rows})
    return translated


def _digest(config: RunConfig) -> str:
    return digest(config.measured, 16)
