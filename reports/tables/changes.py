"""The change against random pairing of every coupling at every NFE: the table of the first screen.

Only numbers and names; pages and the terminal write them in their own ways.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.tables.arms import is_baseline, ordered
from reports.tables.metrics import verdict
from reports.tables.panels import Panel
from reports.tables.primary import Question
from reports.tables.statistics import LEAST_SEEDS, PRIMARY, Cell
from reports.tables.titles import short_names
from reports.text import MISSING, added, number, plural

FULL = math.log(2.5)  # change, as a logarithm of the ratio, from which a colour is at its strongest


@dataclass(frozen=True)
class Row:
    """Couplings that train equal networks, or one coupling.

    Attributes:
        arms: their names in the comparison, as ``results.csv`` has them.
        label: the names in short.
        cells: NFE to Cell; an NFE at which nothing was measured is missing.
        work: what each of ``arms`` adds to the training, as a fraction of it; empty if unknown.

    """

    arms: tuple[str, ...]
    label: str
    cells: Mapping[int, Cell]
    work: tuple[float, ...] = ()

    @property
    def extra_work(self) -> str:
        """``+3 %``, or ``+3 % to +9 %`` if couplings of equal networks differ."""
        ends = [added(share) for share in (min(self.work), max(self.work))] if self.work else []
        return " to ".join(dict.fromkeys(ends)) or MISSING


@dataclass(frozen=True)
class ChangeTable:
    """One metric at one schedule: couplings x NFE.

    Attributes:
        panel: the metric.
        nfes: the columns, rising.
        rows: couplings, those that the primary question favours first.
        baselines: random pairing, of each objective and noise law.
        asked: NFE by which the rows are sorted, and of the primary question if it is asked of this
            panel.

    """

    panel: Panel
    nfes: tuple[int, ...]
    rows: tuple[Row, ...]
    baselines: tuple[Row, ...]
    asked: int

    def verdict(self, cell: Cell) -> str:
        """``better``, ``worse`` or ``unclear``, as everywhere in the report."""
        return verdict(self.panel.info, cell)


def change_table(
    panel: Panel,
    asked: Question | None,
    equal: Sequence[Sequence[str]] = (),
    work: Mapping[str, Cell] | None = None,
) -> ChangeTable:
    """The table of one metric.

    Args:
        panel: the metric.
        asked: the primary question; its NFE, or the measured one that is nearest, sorts the rows.
        equal: arms of equal networks, which share a row.
        work: arm to the work that it adds to the training, see ``reports.tables.overhead``.

    """
    nfes = tuple(sorted(panel.cells))
    nfe = panel.nearest(asked.nfe) if asked else nfes[len(nfes) // 2]
    measured: set[str] = set()
    for row in panel.cells.values():
        measured.update(row)
    names = short_names(measured)
    rows = []
    for arms in _together(ordered(measured), equal):
        label = " / ".join(names[arm] for arm in arms)
        cells = {n: panel.cells[n][arms[0]] for n in nfes if arms[0] in panel.cells[n]}
        costs = tuple(work[arm].mean for arm in arms if arm in work) if work else ()
        rows.append(Row(arms, label, cells, costs))
    others = [row for row in rows if not is_baseline(row.arms[0])]
    others.sort(key=lambda row: _favour(panel, row, nfe))
    baselines = tuple(row for row in rows if is_baseline(row.arms[0]))
    return ChangeTable(panel, nfes, tuple(others), baselines, nfe)


def _together(arms: Sequence[str], equal: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """The arms, those of equal networks as one; random is never among others."""
    found = []
    seen: set[str] = set()
    for arm in arms:
        own = next((names for names in equal if arm in names and not is_baseline(arm)), [arm])
        # Equal in all that is judged, so also here; the row stands where its first name does.
        together = tuple(name for name in own if name in arms and not is_baseline(name))
        if arm not in seen:
            found.append(together or (arm,))
        seen.update(found[-1])
    return found


def _favour(panel: Panel, row: Row, nfe: int) -> tuple[bool, float, str]:
    """Sort key: the most favourable change at one NFE first, couplings without one last."""
    cell = row.cells.get(nfe)
    ratio = cell.ratio if cell else None
    if ratio is None:
        return True, 0.0, row.label
    return False, -ratio if panel.info.better == "higher" else ratio, row.label


def strength(cell: Cell) -> float:
    """Strength of the colour of a cell, 0 to 1: by the logarithm of its ratio; 0 without one."""
    if cell.ratio is None:
        return 0.0
    # By the logarithm, on which half and twice as high are equally far from no change.
    return min(1.0, abs(math.log(cell.ratio)) / FULL)


def direction(panel: Panel, cell: Cell) -> str:
    """``gain`` or ``loss`` by the mean alone, for the colour; empty without a better side.

    Not better or worse, which are claims.
    """
    if cell.ratio is None or panel.info.better is None or cell.ratio == 1:
        return ""
    lower = cell.ratio < 1
    return "gain" if lower == (panel.info.better == "lower") else "loss"


def change_of(cell: Cell) -> str:
    """``−62 %``; the value where a comparison has no ratio."""
    if cell.ratio is None:
        return number(cell.mean)
    # With the decimals of the whole, because the interval stands below it.
    return cell.change.partition(" [")[0]


def certainty(cell: Cell) -> str:
    """``[−78, −34]``, or ``2 seeds`` where there are too few for an interval."""
    if cell.ratio_interval is not None:
        return "[" + cell.change.partition(" [")[2]
    if len(cell.baseline) < LEAST_SEEDS:
        return plural(len(cell.baseline), "seed")
    return "" if cell.ratio is None else "no interval"


def in_words(table: ChangeTable, row: Row, nfe: int) -> str:
    """All of one cell, for whoever points at it."""
    cell = row.cells[nfe]
    place = f"{', '.join(row.arms)} at {nfe} NFE"
    if not cell.baseline:
        return f"{place}: {number(cell.mean)}, {_seeds(cell.values)}"
    own, reference = cell.shared_means
    size = "no ratio" if cell.ratio is None else cell.change
    claimed = table.verdict(cell)
    adjusted = "" if cell.role == PRIMARY else " after adjustment"
    certain = f"not significant{adjusted}" if claimed == "unclear" else f"clearly {claimed}"
    values = f"{number(own)} vs {number(reference)}"
    return f"{place}: {size}, {values}, {_seeds(cell.baseline)}; {certain}"


def _seeds(values: Mapping[int, float]) -> str:
    word = "seed" if len(values) == 1 else "seeds"
    return f"{word} {', '.join(map(str, values))}"
