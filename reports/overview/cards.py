"""The answer in a few cards, one for each range of evaluations with the same outcome.

Cards state claims of the comparison and no others: what ``reports.claims`` calls better or worse. A
placebo wins nothing, whatever came out for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reports.tables.arms import BASELINE, is_baseline, is_placebo
from reports.tables.changes import ChangeTable, Row, change_of
from reports.tables.family import decide
from reports.tables.power import seeds_until_clear
from reports.tables.reach import Reach, Reached
from reports.tables.statistics import LEAST_SEEDS, PRIMARY, Cell
from reports.text import factors, join, nfe_range, number, plural

BETTER = "better"
RANDOM = "random"
UNCLEAR = "unclear"
SEEDS = "seeds"
FACT = "fact"
NO_WINNER = "no clear winner"
_EACH = 2  # NFEs up to which a card gives each change; of more it gives the extremes
_NAMED = 3  # couplings that a card names; more are counted


@dataclass(frozen=True)
class Card:
    """One answer.

    Attributes:
        place: the evaluations it is about, ``9 and 13 NFE``.
        title: the winner, or that there is none.
        lines: change, cost and what else is clear, in phrases.
        kind: ``better``, ``random``, ``unclear``, ``seeds`` or, if nothing is compared, ``fact``.
        arm: the coupling whose colour it has; empty for none.

    """

    place: str
    title: str
    lines: tuple[str, ...]
    kind: str
    arm: str = ""


@dataclass(frozen=True)
class _Outcome:
    kind: str
    row: Row | None = None  # the winner

    @property
    def key(self) -> tuple[str, tuple[str, ...]]:
        return self.kind, self.row.arms if self.row else ()


def cards(table: ChangeTable) -> list[Card]:
    """The answers at the measured NFEs: claims first, each from its lowest NFE on.

    NFEs with the same outcome share a card; one outcome has one card.
    """
    outcomes: dict[tuple, _Outcome] = {}
    places: dict[tuple, list[int]] = {}
    for nfe in table.nfes if table.rows and table.baselines else ():
        outcome = _outcome(table, nfe)
        outcomes[outcome.key] = outcome
        places.setdefault(outcome.key, []).append(nfe)
    found = [_card(table, outcomes[key], nfes) for key, nfes in places.items()]
    # Answers before the lack of one; sorting keeps the order of the NFEs.
    return sorted(found, key=lambda card: card.kind in (UNCLEAR, SEEDS))


def _outcome(table: ChangeTable, nfe: int) -> _Outcome:
    rows = [row for row in table.rows if nfe in row.cells and not is_placebo(row.arms[0])]
    verdicts = {row.arms: table.verdict(row.cells[nfe]) for row in rows}
    better = [row for row in rows if verdicts[row.arms] == "better"]
    if better:
        # The claims are all against random, so that the largest change only leads the list.
        return _Outcome(BETTER, min(better, key=lambda row: _size(table, row.cells[nfe])))
    judged = [row for row in rows if row.cells[nfe].estimate is not None]
    if judged and all(verdicts[row.arms] == "worse" for row in judged):
        return _Outcome(RANDOM)
    # More seeds help only where they are too few, not where a value is not finite.
    enough = judged or _shared_seeds(table, nfe) >= LEAST_SEEDS
    return _Outcome(UNCLEAR if enough else SEEDS)


def _shared_seeds(table: ChangeTable, nfe: int) -> int:
    """The most seeds that a coupling shares with random at an NFE, if any was measured there."""
    shared = [len(row.cells[nfe].baseline) for row in table.rows if nfe in row.cells]
    return max(shared, default=LEAST_SEEDS)


def _size(table: ChangeTable, cell: Cell) -> float:
    """Lower is more favourable."""
    ratio = cell.ratio or 1.0
    return -ratio if table.panel.info.better == "higher" else ratio


def _card(table: ChangeTable, outcome: _Outcome, nfes: Sequence[int]) -> Card:
    place = f"{nfe_range(nfes, table.nfes)} NFE"
    if outcome.row is not None:
        return _winner(table, outcome.row, nfes, place)
    if outcome.kind == RANDOM:
        worse = _others(table, nfes, "worse")
        return Card(place, RANDOM, (worse,), RANDOM, table.baselines[0].arms[0])
    if outcome.kind == SEEDS:
        most = max(_shared_seeds(table, nfe) for nfe in nfes)
        missing = LEAST_SEEDS - most
        title = f"needs {plural(missing, 'more seed')}"
        return Card(place, title, (_means(table, nfes), f"{plural(most, 'seed')} so far"), SEEDS)
    lines = (_means(table, nfes), _others(table, nfes, "worse"), *_more_seeds(table, nfes))
    return Card(place, NO_WINNER, tuple(line for line in lines if line), UNCLEAR)


def _winner(table: ChangeTable, row: Row, nfes: Sequence[int], place: str) -> Card:
    # One NFE has room for its interval; of several the table has them.
    lines = [row.cells[nfes[0]].change if len(nfes) == 1 else _sizes(row, nfes)]
    if row.work:
        lines.append(f"training work {row.extra_work}")
    also = _others(table, nfes, "better", but=row)
    worse = _others(table, nfes, "worse")
    lines += [line for line in (also, worse) if line]
    return Card(place, row.label, tuple(lines), BETTER, row.arms[0])


def _others(table: ChangeTable, nfes: Sequence[int], side: str, but: Row | None = None) -> str:
    """The couplings that are clearly better or worse at some NFE: ``worse: knn +14 % at 9``."""
    # Of several NFEs a card has no room for every number; the table has them.
    sized = len(nfes) == 1 or side == "worse"
    found = []
    for row in table.rows:
        claimed = [
            nfe for nfe in nfes if nfe in row.cells and table.verdict(row.cells[nfe]) == side
        ]
        if not claimed or row is but or (side == "better" and is_placebo(row.arms[0])):
            continue
        # A card of one NFE has said which.
        size = change_of(row.cells[nfes[0]]) if len(nfes) == 1 else _sizes(row, claimed)
        found.append(f"{row.label} {size}" if sized else row.label)
    if not found:
        return ""
    if len(found) > _NAMED:
        found = [*found[: _NAMED - 1], f"{len(found) - _NAMED + 1} more"]
    return f"{'also better' if side == 'better' else 'worse'}: {join(found)}"


def _means(table: ChangeTable, nfes: Sequence[int]) -> str:
    """The changes of the coupling that comes first in the table, at their extremes."""
    row = next((row for row in table.rows if not is_placebo(row.arms[0])), table.rows[0])
    known = [nfe for nfe in nfes if nfe in row.cells and row.cells[nfe].ratio is not None]
    if not known:
        return ""
    text = f"{row.label} {_sizes(row, known, most=1)}"
    enough = any(row.cells[nfe].estimate is not None for nfe in known)
    # An interval may exclude no change and the claim still be none: the others are adjusted.
    if not enough or _claimed(table, row, nfes):
        return text
    # Else an interval that excludes no change would contradict the card.
    adjusted = all(row.cells[nfe].role != PRIMARY for nfe in known)
    return f"{text}; not significant{' after adjustment' if adjusted else ''}"


def _sizes(row: Row, nfes: Sequence[int], most: int = _EACH) -> str:
    """``−46 % at 9, −61 % at 13``; of more than ``most`` NFEs the extremes."""
    if len(nfes) > most:
        ratios = {nfe: row.cells[nfe].ratio for nfe in nfes}
        ends = dict.fromkeys((min(ratios, key=ratios.get), max(ratios, key=ratios.get)))
        return " to ".join(f"{change_of(row.cells[nfe])} at {nfe}" for nfe in ends)
    return ", ".join(f"{change_of(row.cells[nfe])} at {nfe}" for nfe in nfes)


def _claimed(table: ChangeTable, row: Row, nfes: Sequence[int]) -> bool:
    cells = [row.cells[nfe] for nfe in nfes if nfe in row.cells]
    return any(table.verdict(cell) != "unclear" for cell in cells)


def _more_seeds(table: ChangeTable, nfes: Sequence[int]) -> list[str]:
    """A line on couplings that a few more seeds would make clear in the primary question."""
    # Elsewhere the claim is adjusted, and the number of seeds would be too small.
    if table.asked not in nfes:
        return []
    found: dict[int, list[str]] = {}
    for row in table.rows:
        cell = row.cells.get(table.asked)
        more = seeds_until_clear(cell) if cell and cell.role == PRIMARY else None
        if more and not is_placebo(row.arms[0]):
            found.setdefault(more, []).append(row.label)
    if not found:
        return []
    fewest = min(found)
    names = found[fewest] if len(found[fewest]) <= _NAMED else found[fewest][:_NAMED]
    # Planned: seeds that are added until a result is significant find differences by chance.
    seeds = plural(fewest, "more seed")
    return [f"{seeds}, planned in advance, would probably settle NFE {table.asked}: {join(names)}"]


def reach_card(table: Reach | None, schedule: str, names: dict[str, str]) -> Card | None:
    """``10.7 NFE, not 14.5``: the evaluations that reach random's best distance times the first
    factor.

    That factor is fixed, and the couplings are adjusted for each other, as other claims are. None
    if no coupling reaches it in every seed.

    Args:
        table: of the metric.
        schedule: at which its rows are compared.
        names: arm to its name in short.

    """
    if table is None:
        return None
    reached = {}
    for own, arm, columns in table.rows:
        if own == schedule and not is_baseline(arm) and not is_placebo(arm):
            reached[arm] = columns[0]
    arms = [arm for arm, found in reached.items() if found.cell.ratio is not None]
    cells = [reached[arm].cell for arm in arms]
    judged = dict(zip(arms, decide(cells), strict=True))
    if not judged:
        return None
    clear = {arm: cell for arm, cell in judged.items() if cell.side == "lower"}
    among = clear or judged
    arm = min(among, key=lambda one: among[one].ratio)
    return _reached(table, names[arm], arm, replace(reached[arm], cell=among[arm]))


def _reached(table: Reach, label: str, arm: str, found: Reached) -> Card:
    factor, target = next(iter(table.targets.items()))
    cell = found.cell
    own, reference = cell.shared_means
    times = f"×{cell.ratio:.2f}"
    if cell.ratio_interval:
        times += f" {factors(cell.ratio_interval.low, cell.ratio_interval.high)}"
    goal = f"to reach {factor:g} times {BASELINE}'s best distance ({number(target)})"
    if factor == 2:
        goal = f"to reach twice {BASELINE}'s best distance ({number(target)})"
    place = "same quality, fewer evaluations"
    if cell.side == "lower":
        title = f"{number(own)} NFE, not {number(reference)}"
        return Card(place, title, (f"{label}, {goal}", times), BETTER, arm)
    seeds = "" if cell.estimate is not None else f", {plural(len(cell.baseline), 'seed')}"
    means = f"{label} {number(own)}, {BASELINE} {number(reference)} NFE, {goal}"
    return Card(place, "no clear saving", (means, f"{times}{seeds}"), UNCLEAR)
