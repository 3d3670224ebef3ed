"""The primary question of a comparison, and the claims of all panels that the summary speaks of.

The question is one metric at one NFE, declared before the training (``--primary``) and recorded
with the runs. Only it is claimed at the plain 5 % level: who chooses the NFE of a claim after
looking at all of them finds a difference between equal couplings much more often.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from reports.tables.family import decide, family_size
from reports.tables.panels import Panel
from reports.tables.select import PLAIN
from reports.tables.statistics import Cell
from reports.text import is_missing

# Odd, as all NFEs of Heun's method are: two in each step but the last, which has one.
NFE = 13  # of the question where none was declared, or the nearest that was measured


@dataclass(frozen=True)
class Question:
    """The primary question.

    Attributes:
        metric: its metric; compared with the test split, if with any.
        nfe: its number of evaluations.
        declared: False if it is the one of all comparisons that declare none.

    """

    metric: str
    nfe: int
    declared: bool

    def __str__(self) -> str:
        return f"{self.metric} at NFE {self.nfe}"


def question(panels: Sequence[Panel], declared: Collection[str]) -> Question | None:
    """The primary question of a comparison.

    None if its runs declare several, or if no distance was measured to ask about.

    Args:
        panels: of the comparison.
        declared: all that its runs declare, each as ``METRIC@NFE``.

    """
    if declared:
        metric, _, nfe = next(iter(declared)).rpartition("@")
        # Several questions, of which each would be claimed at 5 %, are no primary one.
        return Question(metric, int(nfe), True) if len(declared) == 1 else None
    # A rule that was there before the results, for runs that declare nothing.
    first = first_judged(panels)
    return Question(first.metric, first.nearest(NFE), False) if first else None


def first_judged(panels: Sequence[Panel]) -> Panel | None:
    """The first distance to the test split that is judged; None if none was measured."""
    judged = [panel for panel in panels if panel.judged and panel.split == "test"]
    # Published recipes for points sample with another method than Heun's.
    plain = [panel for panel in judged if panel.plain]
    return next(iter(plain or judged), None)


def primary_panels(panels: Sequence[Panel], asked: Question) -> list[Panel]:
    """The panels of the question that differ in schedule only; the last one answers it.

    That is the one at each run's own best schedule, if that was searched for: at a shared one, an
    arm may merely be unlucky. Empty if the question was not measured.
    """
    found = []
    for panel in panels:
        # Of the training split a copy of the images would be the best answer.
        fits = panel.metric == asked.metric and panel.per_nfe and panel.split != "train"
        if fits and _is_ordinary(panel) and asked.nfe in panel.cells:
            found.append(panel)
    # Of several samplers the one that all are compared with.
    found = [panel for panel in found if panel.plain] or found
    found = [panel for panel in found if panel.family_title == found[0].family_title]
    # Panels of schedules that runs chose before they chose together come after the best one.
    return sorted(found, key=lambda panel: panel.at_best)


def decided(panels: Sequence[Panel], asked: Question | None) -> list[Panel]:
    """The panels, with the claims of all that are judged made as one family; see
    ``reports.tables.family.decide``.
    """
    target = primary_panels(panels, asked)[-1:] if asked else []
    places = []
    cells: list[Cell] = []
    primary: list[int] = []
    for number, panel in enumerate(panels):
        for nfe, row in panel.cells.items():
            # By identity: panels hold data frames, which have no single answer to ==.
            is_asked = any(panel is one for one in target) and nfe == asked.nfe
            if not is_asked and not (panel.judged and _is_ordinary(panel)):
                continue
            # Flat, because a family is made over all panels at once.
            for arm, cell in row.items():
                primary += [len(cells)] if is_asked else []
                places.append((number, nfe, arm))
                cells.append(cell)
    rows: dict[int, dict] = {}
    for (number, nfe, arm), cell in zip(places, decide(cells, primary), strict=True):
        rows.setdefault(number, {}).setdefault(nfe, {})[arm] = cell
    found = []
    for number, panel in enumerate(panels):
        # Of a metric that is not judged, only the NFE of the question has claims of a family.
        own = panel.cells | rows[number] if number in rows else None
        found.append(replace(panel, decided=own) if own else panel)
    return found


def comparisons(panels: Sequence[Panel]) -> int:
    """The number of comparisons that are adjusted for each other."""
    cells: list[Cell] = []
    for panel in panels:
        for row in panel.cells.values() if panel.decided else ():
            cells += row.values()
    return family_size(cells)


def equal_arms(panels: Sequence[Panel]) -> list[list[str]]:
    """Arms with the same seeds and the same values to the last digit in all that is judged.

    Couplings that pair alike train the same networks: they are one arm with several names.
    """
    values: dict[str, list[tuple]] = {}
    for number, panel in enumerate(panels):
        for nfe, row in panel.cells.items() if panel.judged else ():
            # With the place: values of two metrics must not be taken for each other.
            for arm, cell in row.items():
                values.setdefault(arm, []).append((number, nfe, *sorted(cell.values.items())))
    arms: dict[tuple, list[str]] = {}
    for arm, own in values.items():
        arms.setdefault(tuple(own), []).append(arm)
    return [names for names in arms.values() if len(names) > 1]


def _is_ordinary(panel: Panel) -> bool:
    """True without guidance and from plain noise, whatever the sampler."""
    first = panel.rows.iloc[0]
    # Rows without these columns' values are about no sampling, and so are ordinary.
    found = [(first[name], PLAIN[name]) for name in ("start", "guidance")]
    return all(is_missing(value) or str(value) == plain for value, plain in found)
