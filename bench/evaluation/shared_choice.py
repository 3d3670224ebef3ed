"""One choice of schedules for the runs of a coupling that differ in the seed only.

Every run searches by itself, so that it is complete without the others. When several are there, the
mean over their searches chooses, which is less a matter of chance, and those that are measured
elsewhere are measured at the shared choice too. A seed that is added later may move it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from bench.config import RunConfig
from bench.evaluation.ledger import is_finished, record_best, searched
from bench.process.ranks import Ranks
from bench.record import Measurement, RunFolder, RunFolderError
from bench.record.best_schedule import BEST, SEEDS, Cell, SharedChoice, cells, choose, judge


@dataclass(frozen=True)
class Member:
    """A run of the command.

    Attributes:
        config: of the run, with the evaluation that was asked for.
        folder: of the run.
        number: its place in the command, from 0 on.

    """

    config: RunConfig
    folder: RunFolder
    number: int


Work = list[tuple[Member, SharedChoice]]
"""Runs that are to be measured again, each with the reason."""


def share(members: Sequence[Member], measure: Callable[[Work], bool], ranks: Ranks) -> None:
    """Measure runs again whose best schedules are not those that all seeds of their coupling
    choose together.

    Args:
        members: the runs of a command.
        measure: measures runs again; False if one failed, which it has reported.
        ranks: the processes that share the sampling.

    """
    for family in families(members):
        earlier: Work = []
        # Cells beyond the grid may be missing first, a step at a time; then the choice is made.
        while work := ranks.from_first(pending, family):
            # What failed, or was measured to no effect, would be pending for ever.
            if work == earlier:
                break
            if ranks.first:
                print(_line(family, work), flush=True)
            if not measure(work):
                break
            earlier = work


def families(members: Iterable[Member]) -> list[list[Member]]:
    """Runs that differ in the seed only, if there are several."""
    by_config: dict[RunConfig, list[Member]] = {}
    for member in members:
        by_config.setdefault(replace(member.config, seed=0), []).append(member)
    return [family for family in by_config.values() if len(family) > 1]


def pending(family: Sequence[Member]) -> Work:
    """Runs that are to be measured again; none if all are at the shared choice.

    Counts only runs that are finished and have searched with this version. Where a run has chosen
    the same by itself, the shared choice is recorded at once.
    """
    searches: dict[Member, list[Measurement]] = {}
    names: set[str] = set()
    for member in family:
        rows = _search(member)
        if rows:
            searches[member] = rows
            names.update(row.metric for row in rows)
    if len(searches) < 2:
        return []
    evaluation = family[0].config.evaluation
    features = judge(names, evaluation.features)
    best = [row for row in choose(*searches.values()) if row.metric == f"{BEST}{features}"]
    tried = {member: cells(rows, features) for member, rows in searches.items()}
    missing = _missing(family[0].config, best, tried)
    if any(missing.values()):
        return [(m, SharedChoice(len(searches), tuple(own))) for m, own in missing.items() if own]
    work = []
    for member in searches:
        if _schedules(_recorded(member, features)) != _schedules(best):
            work.append((member, SharedChoice(len(searches), best=tuple(best))))
        elif _seeds(member, features) != len(searches):
            with member.folder.lock():
                record_best(member.folder, best, len(searches))
    return work


def _missing(
    config: RunConfig, best: Sequence[Measurement], tried: dict[Member, list[Cell]]
) -> dict[Member, list[Cell]]:
    """Cells beyond the ends of what all runs tried, by the run that has not tried them yet."""
    # Imports torch, which a command line must not wait for.
    from bench.evaluation.plan import beyond

    common = set.intersection(*map(set, tried.values()))
    wanted = beyond(config.evaluation, best, common)
    missing = {}
    for member, own in tried.items():
        missing[member] = [cell for cell in wanted if cell not in own]
    return missing


def _search(member: Member) -> list[Measurement]:
    """Rows of a run's search; none if it is not finished, or cannot be read."""
    try:
        if member.folder.is_done() and is_finished(member.folder, member.config):
            return searched(member.folder, member.config.evaluation.fixed_schedule)
    except RunFolderError:
        pass  # reported when the run was made
    return []


def _recorded(member: Member, features: str) -> list[Measurement]:
    rows = member.folder.measurements()
    return [row for row in rows if row.metric == f"{BEST}{features}"]


def _seeds(member: Member, features: str) -> int:
    """Number of runs that made the recorded choice."""
    for row in member.folder.measurements():
        if row.metric == f"{SEEDS}{features}":
            return int(row.value)
    return 0


def _schedules(best: Iterable[Measurement]) -> dict[tuple, str | None]:
    return {(row.sampler, row.start, row.guidance, row.nfe): row.schedule for row in best}


def _line(family: Sequence[Member], work: Work) -> str:
    names = ", ".join(member.config.run_id for member, _ in work)
    shared = work[0][1]
    aim = "at them" if shared.best else "to choose them, beyond the grid"
    return (
        f"{family[0].config.coupling}: {shared.seeds} seeds choose their best schedules together;"
        f" measured again {aim}: {names}"
    )
