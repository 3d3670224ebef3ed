"""Laws of the training's noise levels: one that all couplings share, and each coupling's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from reports.sections._versus import Versus, versus
from reports.tables.arms import BASELINE, Arm, arms_of
from reports.tables.groups import GAUSSIAN, Group
from reports.tables.search import FILE, Tried, tried

title = "Noise laws"
place = 36
folded = True


@dataclass(frozen=True)
class Laws:
    """The section of one comparison.

    Attributes:
        tried: the pilots of the search.
        own: each coupling at another law against itself at the shared one.
        random: each coupling at its own law against random at random's own.
        file: of the pilots.

    """

    tried: list[Tried]
    own: list[Versus]
    random: list[Versus]
    file: str = FILE


def build(group: Group) -> Laws | None:
    """The laws; None if there is one only and none was searched for."""
    arms = arms_of(group.plain.rows)
    pilots = _pilots(group, arms)
    own = versus(group, against_shared(arms))
    random = versus(group, against_random(arms, pilots))
    return Laws(pilots, own, random) if pilots or own else None


def _pilots(group: Group, arms: Sequence[Arm]) -> list[Tried]:
    if not group.runs:
        return []
    first = group.rows.iloc[0]
    run = group.runs[0]
    # Columns of the table are there only if runs differ in them; the configuration has them all.
    task = {
        "data": str(first["data"]),
        "pool": str(first["pool"]),
        "source": str(run.config.get("source", GAUSSIAN)),
        "conditional": str(run.config.get("training.conditional", False)),
    }
    found = tried([each.path.parent for each in group.runs], task)
    objectives = {arm.objective for arm in arms}
    return [one for one in found if one.objective.partition(":")[0] in objectives]


def against_shared(arms: Sequence[Arm]) -> list[tuple[str, str]]:
    """Each arm at another law with the same coupling and objective at the shared law."""
    shared = _shared(arms)
    found = []
    for arm in arms:
        if arm.law == shared[arm.objective]:
            continue
        same = [one for one in arms if _alike(one, arm) and one.law == shared[arm.objective]]
        found += [(arm.name, same[0].name)] if same else []
    return found


def against_random(arms: Sequence[Arm], pilots: Sequence[Tried]) -> list[tuple[str, str]]:
    """Each coupling at its own law with random at random's own, where these are other arms than
    the tables of random pairing compare.
    """
    own = {}
    for arm in arms:
        if _is_own(arm, arms, pilots):
            own[arm.coupling, arm.objective] = arm
    found = []
    for (coupling, objective), arm in own.items():
        reference = own.get((BASELINE, objective))
        # Equal laws are compared by all tables with random pairing.
        if coupling != BASELINE and reference and reference.law != arm.law:
            found.append((arm.name, reference.name))
    return found


def _shared(arms: Sequence[Arm]) -> dict[str, tuple[float, float] | None]:
    """Objective to the law that most of its couplings have, of equal ones the first."""
    counts: dict[str, Counter] = {}
    for arm in arms:
        counts.setdefault(arm.objective, Counter())[arm.law] += 1
    # Equal counts come in the order of the arms, in which plain names are first.
    return {objective: count.most_common(1)[0][0] for objective, count in counts.items()}


def _is_own(arm: Arm, arms: Sequence[Arm], pilots: Sequence[Tried]) -> bool:
    """True if the search chose the arm's law; without a search, if it is the only other one."""
    chosen = []
    for one in pilots:
        same = one.coupling == arm.coupling and one.objective.partition(":")[0] == arm.objective
        chosen += [one.numbers] if one.chosen and same else []
    # The search knows best: a coupling may have been trained at laws that it did not choose.
    if chosen:
        return arm.law in chosen
    shared = _shared(arms)[arm.objective]
    laws = {one.law for one in arms if _alike(one, arm)} - {shared}
    return arm.law in laws and len(laws) == 1


def _alike(one: Arm, other: Arm) -> bool:
    return (one.coupling, one.objective) == (other.coupling, other.objective)
