"""The first screen of a page: what ``first_screen`` found, with a figure for each view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from reports.figures.ratios import banded_rows, ratio_figure, shaded
from reports.figures.style import Look
from reports.overview.first_screen import Screen, View
from reports.tables.changes import ChangeTable


@dataclass(frozen=True)
class Drawn:
    """The figure of one view.

    Attributes:
        svg: the drawing; None if nothing can be drawn.
        bands: whose intervals are bands: the name of a coupling, ``each coupling``, or empty.
        floor: True if the reach of real images is shaded.

    """

    svg: Markup | None
    bands: str
    floor: bool


@dataclass(frozen=True)
class Face:
    """The first screen of a page.

    Attributes:
        title: the question.
        facts: phrases on what was compared.
        views: the metrics and schedules, the default first, each with its figure.

    """

    title: str
    facts: tuple[str, ...]
    views: tuple[tuple[View, Drawn], ...]

    @property
    def answer(self) -> str:
        """The cards of the default view in a line: ``13 NFE: lapjv``."""
        cards = self.views[0][0].cards if self.views else ()
        return "; ".join(f"{card.place}: {card.title}" for card in cards)


def face(screen: Screen, look: Mapping[str, Look]) -> Face:
    """The first screen with its figures.

    Args:
        screen: its content.
        look: of the arms, by name.

    """
    views = tuple((view, _drawn(view.table, look)) for view in screen.views)
    return Face(screen.title, screen.facts, views)


def _drawn(table: ChangeTable, look: Mapping[str, Look]) -> Drawn:
    banded = banded_rows(table)
    bands = banded[0].label if len(banded) == 1 else ""
    if len(banded) > 1:
        bands = "each coupling"
    return Drawn(ratio_figure(table, look), bands, bool(shaded(table)))
