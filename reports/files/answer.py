"""The first screen of a comparison as text: for the terminal, and as Markdown for studies."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bench.process.console import SPELLED
from reports.overview.cards import Card
from reports.overview.first_screen import Screen, View, first_screen
from reports.tables.changes import ChangeTable, Row, change_of
from reports.tables.groups import Group
from reports.tables.statistics import Cell
from reports.text import number

_RANDOM = "random, distance"  # label of the row with the baseline's own values
_NOTHING = "No run here measured a distance to held-out data, so there is nothing to choose by.\n"


def answer_text(screen: Screen, width: int) -> str:
    """The question, the facts and the cards in lines of at most so many letters, in ASCII as all of
    the terminal's table; empty if nothing was judged.
    """
    view = screen.default
    if view is None:
        return ""
    facts = f"{'; '.join(screen.facts)}; {view.title}"
    lines = [screen.title, *textwrap.wrap(facts, width)]
    places = max((len(card.place) for card in view.cards), default=0)
    indent = " " * (places + 4)
    for card in view.cards:
        text = f"  {card.place:<{places}}  {_said(card)}"
        lines += textwrap.wrap(text, width, subsequent_indent=indent)
    return "\n".join(lines).encode("ascii", SPELLED).decode()


def answer_files(groups: Sequence[Group]) -> dict[str, str]:
    """File name to content: ``answer.md`` with the first screen of every comparison."""
    found = [answer_markdown(first_screen(group)) for group in groups]
    answers = [text for text in found if text]
    # An empty file would look like one that was not finished.
    return {"answer.md": "\n".join(answers or [_NOTHING])}


def answer_markdown(screen: Screen) -> str:
    """Question, facts, cards and the table of changes, as a study's text shows them."""
    view = screen.default
    if view is None:
        return ""
    cards = [f"- **{card.place}: {card.title}.** {'; '.join(card.lines)}" for card in view.cards]
    facts = f"{'; '.join(screen.facts)}; {view.title}"
    parts = [f"**{screen.title}**", facts, "\n".join(cards), _table(view), _legend(view)]
    return "\n\n".join(parts) + "\n"


def _said(card: Card) -> str:
    return "; ".join([card.title, *card.lines])


def _table(view: View) -> str:
    table = view.table
    head = ["change vs random at NFE", *map(str, table.nfes), "extra training work"]
    lines = [head]
    for row in table.rows:
        cells = [_change(table, row.cells.get(nfe)) for nfe in table.nfes]
        lines.append([_code(row), *cells, row.extra_work])
    for row in table.baselines:
        cells = [number(row.cells[nfe].mean) if nfe in row.cells else "-" for nfe in table.nfes]
        lines.append([row.label.replace("random", _RANDOM), *cells, row.extra_work])
    return _pipes(lines)


def _change(table: ChangeTable, cell: Cell | None) -> str:
    """``**−62 % [−78, −34]**``: bold if it is claimed."""
    if cell is None:
        return "-"
    said = cell.change if cell.estimate is not None else change_of(cell)
    return f"**{said}**" if table.verdict(cell) != "unclear" else said


def _code(row: Row) -> str:
    return " / ".join(f"`{arm}`" for arm in row.arms)


def _pipes(lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(lines[0])
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def _legend(view: View) -> str:
    return (
        "Change of the geometric mean compared with random pairing. Brackets: 95 % interval, not"
        " adjusted, with three seeds or more. Bold: claimed, at NFE"
        f" {view.table.asked} as the primary question, elsewhere adjusted for all other"
        " comparisons (Holm 1979)."
    )
