"""Choice of each coupling's law of training noise, by the pilots of ``noise_search``.

The law is chosen for each coupling and objective by

    score(law) = mean over pilot seeds and NFE of ln(min over schedules of grid_fd),

and the lowest score wins. With the logarithm a factor counts alike at every NFE: distances at few
evaluations are ten to a hundred times those at many, and would decide a plain mean alone. The
minimum over schedules is how the final runs are judged too: each at its own best schedule.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from bench.config import EvaluationConfig, RunConfig
from bench.record import Measurement, RunFolder, RunFolderError, write_csv
from bench.record.best_schedule import GRID, judge
from bench.training.noise_law import with_law, without_law
from bench.training.noise_search import FOLDER, Check, Trial, pilots

TABLE = "noise-search.csv"
Distances = dict[int, float]  # lowest distance by NFE


@dataclass(frozen=True)
class Outcome:
    """A trial that was made.

    Attributes:
        trial: the law and its pilots.
        distances: of each pilot, the geometric mean over NFE of its lowest grid distance; None if
            it failed, or if its samples are not finite at some NFE.
        chosen: True for the best law of its coupling and objective.

    """

    trial: Trial
    distances: tuple[float | None, ...]
    chosen: bool = False

    @property
    def score(self) -> float | None:
        """Mean of ln distance over the pilot seeds; None if a pilot has none."""
        logarithms = [math.log(value) for value in self.distances if value is not None]
        # A law that diverges for one seed of two is no law to train at.
        if len(logarithms) < len(self.distances):
            return None
        return sum(logarithms) / len(logarithms)


@dataclass(frozen=True)
class Row:
    """A pilot in ``noise-search.csv``.

    For an objective with a law of t, ``P_mean`` and ``P_std`` are location and scale of logit t;
    both are empty if t is uniform. ``grid_fd`` is empty if the pilot failed.
    """

    objective: str
    coupling: str
    law: str
    P_mean: float | None
    P_std: float | None
    seed: int
    images: int
    grid_fd: float | None
    chosen: bool
    data: str
    pool: int
    source: str
    conditional: bool


def conclude(trials: Sequence[Trial], runs: Path) -> list[Outcome]:
    """Choose the law of each coupling and objective by its pilots, and write the table of it.

    A coupling of which every law failed has no choice.

    Args:
        trials: all of the search; their pilots are made.
        runs: folder of the runs. The pilots are in ``pilots/`` there; it gets
            ``noise-search.csv``.

    """
    outcomes = choose(trials, {each: _lowest(runs / FOLDER, each) for each in pilots(trials)})
    write_table(outcomes, runs / TABLE)
    return outcomes


def choose(trials: Sequence[Trial], measured: Mapping[RunConfig, Distances]) -> list[Outcome]:
    """Choose the best law of each coupling and objective.

    Args:
        trials: all of the search.
        measured: the lowest distances of each pilot.

    """
    # Means over other evaluations do not compare. Karras' schedule has no search at NFE 3 and that
    # of flow has one, so objectives may differ in them.
    evaluations: dict[str, set[int]] = {}
    for trial in trials:
        for each in trial.pilots:
            evaluations.setdefault(trial.arm.training.objective, set()).update(measured[each])
    outcomes = []
    for trial in trials:
        wanted = evaluations[trial.arm.training.objective]
        distances = [mean_distance(measured[each], wanted) for each in trial.pilots]
        outcomes.append(Outcome(trial, tuple(distances)))
    arms = dict.fromkeys(trial.arm for trial in trials)
    best = [_best(outcomes, arm) for arm in arms]
    return [replace(outcome, chosen=outcome in best) for outcome in outcomes]


def _best(outcomes: Sequence[Outcome], arm: RunConfig) -> Outcome | None:
    scored = []
    for outcome in outcomes:
        if outcome.trial.arm == arm and outcome.score is not None:
            scored.append((outcome.score, outcome))
    # Of equally good ones the first: the configured law comes before all others.
    return min(scored, key=lambda pair: pair[0])[1] if scored else None


def _lowest(folder: Path, config: RunConfig) -> Distances:
    """The lowest grid distance of a pilot at each NFE; empty if it is not done."""
    run = RunFolder(folder / config.run_id)
    try:
        return lowest(run.measurements(), config.evaluation) if run.is_done() else {}
    except RunFolderError:
        return {}  # reported when the run was made


def lowest(rows: Iterable[Measurement], evaluation: EvaluationConfig) -> Distances:
    """The lowest finite grid distance at each NFE, by the measurements of a pilot.

    Counts only what this search asks for: a pilot of an earlier one may hold more. An NFE without
    any finite distance has NaN.
    """
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        if row.metric.startswith(GRID) and row.split == "train" and _is_asked(row, evaluation):
            of_features = found.setdefault(row.metric, {})
            of_features.setdefault(row.nfe, []).append(row.value)
    if not found:
        return {}
    by_nfe = found[f"{GRID}{judge(found, evaluation.features)}"]
    lowest_of = {}
    for nfe, values in by_nfe.items():
        # A sample that is not finite makes the distance NaN or infinite.
        lowest_of[nfe] = min((v for v in values if math.isfinite(v) and v > 0), default=math.nan)
    return lowest_of


def _is_asked(row: Measurement, evaluation: EvaluationConfig) -> bool:
    known = row.schedule in evaluation.searched_schedules
    return known and row.nfe in evaluation.nfe and row.n == evaluation.grid_samples


def mean_distance(lowest_of: Distances, evaluations: Iterable[int]) -> float | None:
    """Geometric mean over numbers of evaluations; None if one is missing or not finite."""
    values = [lowest_of.get(nfe, math.nan) for nfe in sorted(evaluations)]
    if not values or any(math.isnan(value) for value in values):
        return None
    return math.exp(sum(math.log(value) for value in values) / len(values))


def final_runs(
    configs: Iterable[RunConfig], outcomes: Iterable[Outcome], check: Check
) -> list[RunConfig]:
    """The runs at the configured law, each followed by the one at its own if that differs."""
    own = {outcome.trial.arm: outcome.trial.law for outcome in outcomes if outcome.chosen}
    seeds = {arm.seed for arm in own}
    runs = []
    for config in configs:
        runs.append(config)
        for seed in seeds:
            law = own.get(replace(config, seed=seed))
            if law is not None:
                runs.append(check(with_law(config, law)))
    # Once, if both laws are the same one.
    return list(dict.fromkeys(runs))


def write_table(outcomes: Iterable[Outcome], path: Path) -> None:
    """Write ``noise-search.csv``; rows of other couplings, objectives or tasks stay in it."""
    rows: list[Row] = []
    for outcome in outcomes:
        rows += _rows(outcome)
    places = {_place(row) for row in rows}
    kept = [row for row in _read(path) if _place(row) not in places]
    write_csv(path, Row, [*kept, *dict.fromkeys(rows)])


def _place(row: Row) -> tuple[str, ...]:
    """The search that a row belongs to: a later one of the same place replaces its rows."""
    # With other noise samples, or with labels, it is another task.
    task = (row.data, str(row.pool), row.source, str(row.conditional))
    return (*task, row.objective, row.coupling)


def _read(path: Path) -> list[Row]:
    """Rows of an earlier search, as texts; none if the file is of another form."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != [field.name for field in fields(Row)]:
            return []
        rows = []
        for row in reader:
            # Texts where a new row has numbers: they look the same in the file.
            cells: list[Any] = list(row.values())
            rows.append(Row(*cells))
        return rows


def _rows(outcome: Outcome) -> list[Row]:
    trial = outcome.trial
    rows = []
    for config, distance in zip(trial.pilots, outcome.distances, strict=True):
        rows.append(
            Row(
                objective=without_law(config),
                coupling=config.coupling,
                law=trial.law.name,
                P_mean=trial.law.P_mean,
                P_std=trial.law.P_std,
                seed=config.seed,
                images=config.training.images,
                grid_fd=distance,
                chosen=outcome.chosen,
                data=config.data,
                pool=config.training.pool,
                source=config.source,
                conditional=config.training.conditional,
            )
        )
    return rows


def tables(outcomes: Sequence[Outcome]) -> list[list[list[str]]]:
    """Tables for the terminal, as rows of words: one for each objective, couplings by laws.

    A cell is exp(score), the geometric mean of the distances; ``*`` marks the chosen law, a dash
    one that failed.
    """
    made: dict[str, list[list[str]]] = {}
    for arm in dict.fromkeys(outcome.trial.arm for outcome in outcomes):
        of_arm = [outcome for outcome in outcomes if outcome.trial.arm == arm]
        objective = arm.training.objective
        head = ["objective", "coupling", *(each.trial.law.name for each in of_arm)]
        cells = [_cell(outcome) for outcome in of_arm]
        made.setdefault(objective, [head]).append([objective, arm.coupling, *cells])
    return list(made.values())


def _cell(outcome: Outcome) -> str:
    if outcome.score is None:
        return "-"
    return f"{math.exp(outcome.score):.4g}{'*' if outcome.chosen else ''}"
