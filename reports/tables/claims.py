"""The claims of a table of results: every comparison that the summary of a report speaks of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.tables.arms import baseline_of
from reports.tables.groups import Group, groups
from reports.tables.metrics import verdict
from reports.tables.panels import Panel
from reports.tables.statistics import LEAST_SEEDS, Cell
from reports.tables.tidy import PRIMARY
from reports.text import STRINGS

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "comparison": STRINGS,
    "data": STRINGS,
    "pool": "Int64",
    "coupling": STRINGS,
    "against": STRINGS,
    "metric": STRINGS,
    "split": STRINGS,
    "settings": STRINGS,
    "schedule": STRINGS,
    "nfe": "Int64",
    "seeds": "Int64",
    "ratio": "float64",
    "low": "float64",
    "high": "float64",
    "p": "float64",
    "adjusted": "float64",
    "role": STRINGS,
    "verdict": STRINGS,
}


def claims(table: pd.DataFrame, primary: str = "") -> pd.DataFrame:
    """Comparisons with random pairing in the judged metrics, one a row, in the order of a report.

    Columns: ``comparison`` (its title), ``data``, ``pool``, ``coupling`` (the arm), ``against``,
    ``metric``, ``split``, ``settings``, ``schedule``, ``nfe``, ``seeds`` (shared ones), ``ratio``
    of geometric means with its 95 % interval from ``low`` to ``high``, ``p``, ``adjusted`` (for the
    other comparisons of its family; equal to ``p`` for the primary question), ``role`` (primary or
    other), and ``verdict``: better, worse, unclear, ``too few seeds``,
    or ``undefined`` where a run diverged. Empty where undefined.

    Args:
        table: tidy results, such as ``reports.tables.tidy.read_csv`` returns.
        primary: the primary question, ``METRIC@NFE``, in place of the one that runs declare.

    """
    import pandas as pd

    if primary:
        table = table.assign(**{PRIMARY: primary})
    # With the types stated: an empty table has the same columns as a full one.
    rows = []
    for group in groups(table):
        # As the summary: guidance and other starts have claims of their own.
        plain = group.plain
        for panel in plain.panels:
            rows += _of_panel(plain, panel)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def _of_panel(group: Group, panel: Panel) -> list[dict[str, object]]:
    # All rows of a panel share their settings.
    first = panel.rows.iloc[0]
    place = {
        "comparison": group.title,
        "data": first["data"],
        "pool": first["pool"],
        "metric": panel.metric,
        "split": panel.split,
        "settings": panel.settings or None,
        "schedule": panel.schedule or None,
    }
    rows = []
    for nfe, row in panel.cells.items():
        for arm, cell in row.items():
            # Random pairing itself has no role, nor has a metric that is not judged.
            if cell.role:
                own = {"nfe": nfe, "coupling": arm, "against": baseline_of(arm)}
                rows.append(place | own | _numbers(panel, cell))
    return rows


def _numbers(panel: Panel, cell: Cell) -> dict[str, object]:
    interval = cell.ratio_interval
    # None becomes an empty cell, which a number such as 0 or 1 could not be told from.
    return {
        "seeds": len(cell.baseline),
        "ratio": cell.ratio,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "p": cell.p,
        "adjusted": cell.p if cell.adjusted is None else cell.adjusted,
        "role": cell.role,
        "verdict": _verdict(panel, cell),
    }


def _verdict(panel: Panel, cell: Cell) -> str:
    if cell.p is not None:
        return verdict(panel.info, cell)
    # More seeds would not help where a value is not finite.
    return "too few seeds" if len(cell.baseline) < LEAST_SEEDS else "undefined"
