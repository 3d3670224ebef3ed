"""Studies side by side: the answer of every comparison, and one table over all of them.

It has no HTML, as the first screen of one comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.overview.cards import BETTER, RANDOM, SEEDS, UNCLEAR, Card
from reports.overview.first_screen import Screen, first_screen, objective_title
from reports.tables.arms import objectives
from reports.tables.changes import ChangeTable, Row
from reports.tables.groups import Group
from reports.tables.titles import data_title
from reports.text import MISSING, is_missing, join


@dataclass(frozen=True)
class Answer:
    """The first screen of one comparison of a study.

    Attributes:
        study: name of the study.
        page: the page of the comparison, relative to the page over all studies.
        title: study, data set and what distinguishes the comparison from others of the study.
        data: the data set in words.
        pool: pairs that are coupled at once; 0 if unknown.
        screen: its first screen, which has a view.
        objectives: coupling, as the comparison names it, to its objective in words.

    """

    study: str
    page: str
    title: str
    data: str
    pool: int
    screen: Screen
    objectives: dict[str, str]

    @property
    def table(self) -> ChangeTable:
        """The changes at the default metric and schedule."""
        return self.screen.views[0].table

    @property
    def cards(self) -> tuple[Card, ...]:
        """The answers at the default metric and schedule."""
        return self.screen.views[0].cards

    def objective(self, row: Row) -> str:
        """The objective of a row in words."""
        # Couplings of equal networks share a row, and might differ only in this.
        return join([*dict.fromkeys(self.objectives[arm] for arm in row.arms)])


@dataclass(frozen=True)
class Line:
    """A card with the place that it is about: a line of what is settled or open."""

    answer: Answer
    card: Card


@dataclass(frozen=True)
class Overview:
    """All studies.

    Attributes:
        answers: comparisons with a distance to real images, in the order of the studies.
        others: title and page of the comparisons without one.

    """

    answers: tuple[Answer, ...]
    others: tuple[tuple[str, str], ...] = ()

    @property
    def nfes(self) -> list[int]:
        """All numbers of evaluations, rising."""
        # A union: a study that lacks one of them has an empty cell there.
        found: set[int] = set()
        for answer in self.answers:
            found.update(answer.table.nfes)
        return sorted(found)

    @property
    def settled(self) -> list[Line]:
        """The claims: a coupling is better somewhere, or all are worse than random."""
        return self._lines(BETTER, RANDOM)

    @property
    def unsettled(self) -> list[Line]:
        """The numbers of evaluations without a claim. Facts that compare nothing are in neither."""
        return self._lines(UNCLEAR, SEEDS)

    def _lines(self, *kinds: str) -> list[Line]:
        found = []
        # In the order of the studies, and within one in that of its cards.
        for answer in self.answers:
            found += [Line(answer, card) for card in answer.cards if card.kind in kinds]
        return found


def answers_of(study: str, groups: Sequence[Group], pages: Sequence[str]) -> list[Answer]:
    """The comparisons of a study that have an answer.

    Args:
        study: its name.
        groups: its comparisons.
        pages: the page of each, relative to the page over all studies.

    """
    found = []
    for group, page in zip(groups, pages, strict=True):
        screen = first_screen(group)
        # Without a judged metric there is nothing to choose by.
        if screen.default is None:
            continue
        data = str(group.rows["data"].iloc[0])
        pool = group.rows["pool"].iloc[0]
        pool = 0 if is_missing(pool) else int(pool)
        names = page, title_of(study, group), data_title(data)
        found.append(Answer(study, *names, pool, screen, _objectives(group)))
    return found


def title_of(study: str, group: Group) -> str:
    """The title of a comparison with that of its study."""
    # A study of one data set often has its name, which need not be read twice.
    named_alike = str(group.rows["data"].iloc[0]) == study
    return group.title if named_alike else f"{study}: {group.title}"


def _objectives(group: Group) -> dict[str, str]:
    # The training of other programs' networks is not known.
    if group.trainer or not group.trained:
        return dict.fromkeys(map(str, group.own_couplings), MISSING)
    pairs = zip(group.rows["coupling"], objectives(group.rows), strict=True)
    return {str(arm): objective_title(str(objective)) for arm, objective in pairs}
