"""Tables that compare arms in pairs, other than each coupling with random pairing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.record.infos import Info
from reports.overview.summary import compare
from reports.tables.family import decide
from reports.tables.groups import Group
from reports.tables.metrics import claim
from reports.tables.panels import Panel, side_by_side
from reports.tables.statistics import Cell, against


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

    Each run is at its own best schedule, if that was searched for. No pair is the primary question,
    so all claims are adjusted for each other.

    Args:
        group: the comparison.
        pairs: an arm and the one that it is compared with.

    """
    panels = [*_at_best(group), *_of_paths(group)]
    places = []
    cells = []
    for number, panel in enumerate(panels):
        for place, row in panel.cells.items():
            for arm, other in pairs:
                if arm in row and other in row:
                    places.append((number, place, arm, other))
                    # Seed by seed, as with random.
                    cells.append(against(row[arm].values, row[other].values))
    # Over all tables of the section, which a reader takes in together.
    found = dict(zip(places, decide(cells), strict=True))
    tables = []
    for number, panel in enumerate(panels):
        rows = []
        for arm, other in pairs:
            curve = {place: found.get((number, place, arm, other)) for place in panel.cells}
            rows.append(_row(panel, arm, other, curve))
        measured = [row for row in rows if any(row.cells)]
        if measured:
            tables.append(Versus(panel.heading, panel.info, list(panel.cells), measured))
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


def _row(panel: Panel, arm: str, other: str, curve: dict[Any, Cell | None]) -> Row:
    shared = {place: cell for place, cell in curve.items() if cell is not None}
    if panel.per_nfe:
        words = compare(panel.info, shared, other, panel.floor)
    else:
        words = "".join(_one(panel.info, cell, other) for cell in shared.values())
    return Row(arm, other, list(curve.values()), words)


def _one(info: Info, cell: Cell, other: str) -> str:
    if cell.ratio is None:
        return f"no comparison with {other}"
    # The means are worth showing, but two seeds agree in sign by chance half the time.
    if cell.estimate is None:
        return f"{cell.change} vs {other} (too few shared seeds for a claim)"
    words = claim(info, cell)
    link = "to" if cell.side == "unclear" else "than"
    return f"{words} {link} {other}: {cell.change}"
