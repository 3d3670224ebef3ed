"""Tables that compare arms in pairs, other than each coupling with random pairing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.record.infos import Info
from reports.overview.summary import compare
from reports.tables.groups import Group
from reports.tables.metrics import claim
from reports.tables.panels import Panel, side_by_side
from reports.tables.statistics import Cell


@dataclass(frozen=True)
class Row:
    """One pair.

    Attributes:
        arm: the one that is judged.
        against: the one that it is compared with.
        cells: of ``arm``, whose baseline is ``against``; None where either was not measured.
        words: the comparison as a sentence.

    """

    arm: str
    against: str
    cells: list[Cell | None]
    words: str


@dataclass(frozen=True)
class Versus:
    """One metric.

    Attributes:
        title: metric, split and settings.
        info: the metric.
        places: NFEs of the columns; None alone for one value per run.
        rows: the pairs.

    """

    title: str
    info: Info
    places: list[Any]
    rows: list[Row]


def versus(group: Group, pairs: Sequence[tuple[str, str]]) -> list[Versus]:
    """The pairs in all distances that the summary speaks of, and in how straight the paths are.

    Each run is at its own best schedule, if that was searched for.

    Args:
        group: the comparison.
        pairs: an arm and the one that it is compared with.

    """
    tables = []
    for panel in [*_at_best(group), *_of_paths(group)]:
        rows = [_row(panel, *pair) for pair in pairs]
        measured = [row for row in rows if any(row.cells)]
        if measured:
            tables.append(Versus(panel.title, panel.info, list(panel.cells), measured))
    return tables


def _at_best(group: Group) -> list[Panel]:
    """Of each judged metric over NFE the panel at the best schedule, else that at the fixed one."""
    judged = [panel for panel in group.plain.panels if panel.judged and panel.plain]
    found = []
    for shared in side_by_side(judged):
        # One table is enough: at a fixed schedule, one objective may merely be unlucky.
        best = [panel for panel in shared if panel.at_best]
        found.append(best[0] if best else shared[0])
    return found


def _of_paths(group: Group) -> list[Panel]:
    """Values per run that say how straight the paths are, the better the lower."""
    panels = [panel for panel in group.plain.values if panel.info.kind == "path" and panel.plain]
    return [panel for panel in panels if panel.info.terminal and panel.info.better == "lower"]


def _row(panel: Panel, arm: str, against: str) -> Row:
    curve = {place: _pair(row, arm, against) for place, row in panel.cells.items()}
    shared = {place: cell for place, cell in curve.items() if cell is not None}
    if panel.per_nfe:
        words = compare(panel.info, shared, against)
    else:
        words = "".join(_one(panel.info, cell, against) for cell in shared.values())
    return Row(arm, against, list(curve.values()), words)


def _pair(row: dict[str, Cell], arm: str, against: str) -> Cell | None:
    if arm not in row or against not in row:
        return None
    own = row[arm].values
    # Seed by seed, as with random: seeds that only one of them has would shift its mean.
    return Cell(own, {s: value for s, value in row[against].values.items() if s in own})


def _one(info: Info, cell: Cell, against: str) -> str:
    if cell.ratio is None:
        return f"no comparison with {against}"
    # The means are worth showing, but two seeds agree by chance every other time.
    if cell.difference is None:
        return f"no claim, too few seeds are shared with {against}: {cell.change}"
    words = claim(info, cell)
    link = "to" if cell.side == "unclear" else "than"
    return f"{words} {link} {against}: {cell.change}"
