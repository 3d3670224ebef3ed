"""Tables of the metrics over NFE."""

from __future__ import annotations

from dataclasses import dataclass

from reports.sections._draw import about
from reports.tables.arms import ordered
from reports.tables.groups import Group
from reports.tables.panels import Panel
from reports.tables.select import floors
from reports.text import number

title = "Values at each NFE"
place = 30
folded = True


@dataclass(frozen=True)
class Table:
    """A table of one metric: a row for each NFE, a column for each coupling.

    Attributes:
        panel: the metric.
        couplings: the columns.
        about: words about the metric, if no figure has them.

    """

    panel: Panel
    couplings: list[str]
    about: str


@dataclass(frozen=True)
class Values:
    """The tables of a comparison.

    Attributes:
        tables: of metrics that are also drawn.
        more: of metrics of the samples that are not drawn.

    """

    tables: list[Table]
    more: list[Table]

    @property
    def has_floors(self) -> bool:
        """True if a table has values of real images."""
        return any(table.panel.floor for table in self.tables + self.more)


def build(group: Group) -> Values | None:
    """The tables; None if nothing was measured over NFE."""
    real = floors(group.rows, group.metrics)
    group = group.plain
    tables = []
    more = []
    for panel in group.curves:
        couplings = ordered(panel.rows["coupling"])
        if panel.info.figure:
            tables.append(Table(panel, couplings, ""))
        else:
            more.append(Table(panel, couplings, _about(group, panel, real)))
    # Plain sampling first, and of each kind in the order of the report
    tables.sort(key=lambda table: not table.panel.plain)
    return Values(tables, more) if tables or more else None


def _about(group: Group, panel: Panel, real: dict[str, float]) -> str:
    words = about(group, panel)
    if panel.metric in real:
        words += f" Held-out real images: {number(real[panel.metric])}."
    return words
