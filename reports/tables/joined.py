"""Runs of several studies as those of one.

The same run in two studies counts once. Two records of one run that hold other numbers are refused:
which of them is right, only the user can say.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.record import RunFolder
from bench.record.best_schedule import as_of_today
from reports.tables.csv_runs import with_configuration
from reports.tables.runs import Excluded, ReportError, Run
from reports.tables.tidy import LEFT_OUT, plain
from reports.text import number, plural

# Equal trainings on other machines may differ by the rounding of float32 sums, not by more.
SAME = 1e-6  # relative
_TIMES = ("_ms", "_per_s", "_seconds", "coupling_share", "coupling_wait_share")
_NAMED = 3  # runs that a note names

Rows = dict[tuple, float]


@dataclass(frozen=True)
class Studies:
    """All that was read.

    Attributes:
        runs: the finished runs, each once.
        excluded: the folders that cannot be used.
        notes: lines on what was counted once or taken for granted.

    """

    runs: list[Run] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def joined(parts: Sequence[Studies]) -> Studies:
    """Several studies as one, in the order of a single folder with all of their runs.

    Raises:
        ReportError: a configuration is not known, or a run holds other numbers in two of them.

    """
    notes: list[str] = []
    for part in parts:
        notes += part.notes
    runs, assumed = _configured(parts)
    once, doubles = _once(runs)
    # By name, as the folders of one folder are read.
    found = sorted(once, key=lambda run: run.run_id)
    excluded, mended = _still_excluded(parts, {run.run_id: run for run in found})
    return Studies(found, excluded, [*notes, *assumed, *doubles, *mended])


def _once(runs: Iterable[Run]) -> tuple[list[Run], list[str]]:
    """Each run once, and a line for each two studies that share some."""
    kept: dict[str, Run] = {}
    shared: dict[tuple[str, str, str, str], list[str]] = {}
    for run in runs:
        identity = _identity(run)
        first = kept.setdefault(identity, run)
        if first is not run:
            kept[identity] = _same(first, run)
            times = "; their times differ" if _retimed(first, run) else ""
            pair = (first.study, run.study, kept[identity].study, times)
            shared.setdefault(pair, []).append(run.run_id)
    _refuse_shared_names(kept.values())
    notes = []
    for (one, other, taken, times), names in shared.items():
        notes.append(
            f"{plural(len(names), 'run')} of {one} also in {other}: counted once, from"
            f" {taken}{times} ({_listed(names)})"
        )
    return list(kept.values()), notes


def _configured(parts: Sequence[Studies]) -> tuple[list[Run], list[str]]:
    """All runs, those of tables of earlier versions with the configurations that others prove.

    Raises:
        ReportError: a configuration is not known, and other studies have runs on the same data.

    """
    runs: list[Run] = []
    for part in parts:
        runs += part.runs
    if all(run.configured for run in runs):
        return runs, []
    identities = _identities(runs)
    # Runs on other data are never compared, so their configurations need not be known.
    studies_of: dict[object, set[str]] = {}
    for run in runs:
        studies_of.setdefault(run.config["data"], set()).add(run.study)
    found = []
    assumed: dict[str, None] = {}
    for run in runs:
        known = run if run.configured else with_configuration(run, identities)
        alone = studies_of[run.config["data"]] == {run.study}
        if known is None and not alone:
            raise ReportError(
                f"{run.study} does not record the configuration of {run.run_id}, and that of no"
                " run in the other studies gives its name: report on them separately, or train"
                " the others as that study did"
            )
        if not run.configured and not alone:
            assumed[run.study] = None
        found.append(known or run)
    return found, [
        f"{study} does not record data and features: they are taken to be those of the other runs"
        for study in assumed
    ]


def _identities(runs: Sequence[Run]) -> list[Mapping[str, Any]]:
    """The configurations in run folders, of those that differ in coupling and seed only one."""
    found: dict[str, Mapping[str, Any]] = {}
    for run in runs:
        # Numbers of a table may have lost their point, and then give another hash.
        if run.from_csv:
            continue
        identity = RunFolder(run.path).config()
        same = json.dumps({**identity, "coupling": "", "seed": 0}, sort_keys=True)
        found.setdefault(same, identity)
    return list(found.values())


def _identity(run: Run) -> str:
    """The configuration as text, the same for a run folder and its rows in a results.csv."""
    # Its name has a hash of what is not known.
    if not run.configured:
        return run.run_id
    known = {name: plain(value) for name, value in run.config.items() if value is not None}
    # Folders leave them out at these values, tables do not.
    chosen = {name: value for name, value in known.items() if value != LEFT_OUT.get(name)}
    return json.dumps(chosen, sort_keys=True)


def _rows(run: Run) -> tuple[Rows, Rows]:
    """Measured values by key: results, and times, which depend on the machine."""
    results: Rows = {}
    times: Rows = {}
    for measurement in run.measurements:
        row = as_of_today(measurement)
        of = times if row.metric.endswith(_TIMES) else results
        of[row.key] = row.value
    return results, times


def _retimed(one: Run, other: Run) -> bool:
    """True if a time of one run is another one in the other."""
    times = _rows(other)[1]
    return any(times.get(key, value) != value for key, value in _rows(one)[1].items())


def _same(first: Run, other: Run) -> Run:
    """Of two records of one run the one that has all rows of both, by default the first.

    Raises:
        ReportError: they hold other numbers, or each has rows that the other lacks.

    """
    ours = _rows(first)[0]
    theirs = _rows(other)[0]
    shared = [key for key in ours if key in theirs]
    differing = [key for key in shared if not _near(ours[key], theirs[key])]
    if differing:
        key = differing[0]
        raise ReportError(
            f"{first.run_id} has other numbers in {first.study} than in {other.study}"
            f" ({key[0]}: {number(ours[key])} and {number(theirs[key])};"
            f" {len(differing):,} of {len(shared):,} rows differ). Two trainings of one seed are"
            " not two seeds: leave it out of one of them"
        )
    # One of them whole: rows of two records may be of two trainings.
    if ours.keys() > theirs.keys():
        return first
    if theirs.keys() > ours.keys():
        return other
    if ours.keys() != theirs.keys():
        raise ReportError(
            f"{first.run_id}: {first.study} and {other.study} each have rows that the other"
            " lacks: leave it out of one of them, or measure the same in both with python -m"
            " bench.evaluate"
        )
    # A run folder has pictures, a table has none.
    return other if first.from_csv and not other.from_csv else first


def _near(one: float, other: float) -> bool:
    # Equal first: infinite values are not close to each other. nan is not equal to itself.
    if one == other or (math.isnan(one) and math.isnan(other)):
        return True
    return math.isclose(one, other, rel_tol=SAME)


def _refuse_shared_names(runs: Iterable[Run]) -> None:
    """Refuse two configurations under one name, by which tables know a run."""
    by_name: dict[str, Run] = {}
    for run in runs:
        first = by_name.setdefault(run.run_id, run)
        if first is not run:
            raise ReportError(
                f"{first.study} and {run.study} each have a run {run.run_id}, of other"
                " configurations: rename one of the two folders"
            )


def _still_excluded(
    parts: Sequence[Studies], runs: Mapping[str, Run]
) -> tuple[list[Excluded], list[str]]:
    """The folders that no study has finished, and lines on the others."""
    excluded = []
    notes = []
    for part in parts:
        for item in part.excluded:
            # Listed as left out, it would seem to be missing.
            if item.folder in runs:
                notes.append(
                    f"{item.folder}: taken from {runs[item.folder].study}; left out elsewhere"
                    f" ({item.reason})"
                )
            else:
                excluded.append(item)
    return sorted(excluded, key=lambda item: (item.folder, item.reason)), notes


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
