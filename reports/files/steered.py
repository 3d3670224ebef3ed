"""Lines of the terminal on what was asked for beyond plain sampling: guidance and starts."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from reports.sections.guidance import in_words
from reports.tables.arms import ordered
from reports.tables.groups import Group
from reports.tables.select import PLAIN, at_fixed_schedule, begins_elsewhere, is_unguided
from reports.tables.statistics import Cell, values_by
from reports.text import aligned, number

if TYPE_CHECKING:
    import pandas as pd

_MOST_NFE = 8  # columns that fit next to the names


def guidance_lines(group: Group, width: int) -> str:
    """Sentences on the guidance of each coupling, by the distance of the summary; empty
    without any.
    """
    found = in_words(group)
    if not found:
        return ""
    lines = ["Discriminator guidance (the weight is chosen on the training split):"]
    for coupling, sentences in found.items():
        for sentence in sentences:
            text = f"{coupling}, {sentence}".replace("−", "-").replace("×", "x")
            lines += textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def starts_table(group: Group) -> str:
    """The distance from each start, next to that of the full sampler with as many evaluations;
    empty without other starts.
    """
    rows = group.rows
    rows = rows[is_unguided(rows) & rows["nfe"].notna() & rows["start"].notna()]
    started = rows[begins_elsewhere(rows) & rows["split"].eq("test").fillna(False)]
    distances = group.metrics.distances(started["metric"])
    if not distances:
        return ""
    metric = distances[0]
    started = at_fixed_schedule(started[started["metric"].eq(metric)])
    nfe = sorted({int(value) for value in started["nfe"]})[:_MOST_NFE]
    lines = [["coupling", "start", *[f"NFE {value}" for value in nfe]]]
    for coupling in ordered(started["coupling"]):
        own = started[started["coupling"].eq(coupling)]
        full = _same_place(rows, own, metric)
        lines.append([coupling, "none (full sampler)", *_cells(full, nfe)])
        for start, part in own.groupby("start", sort=True):
            lines.append([coupling, str(start), *_cells(part, nfe)])
    title = f"{metric}, test, by the start of sampling (NFE counted from there; see Starts)"
    return f"{title}\n{aligned(lines, left=2)}"


def _same_place(rows: pd.DataFrame, own: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of plain sampling that a coupling's starts can be compared with."""
    same = rows["coupling"].eq(own["coupling"].iloc[0]) & rows["metric"].eq(metric)
    for column in ("sampler", "schedule"):
        same &= rows[column].isin(own[column].dropna().unique())
    plain = rows["start"].eq(PLAIN["start"]) & rows["split"].eq("test").fillna(False)
    return rows[(same & plain).fillna(False)]


def _cells(rows: pd.DataFrame, nfe: list[int]) -> list[str]:
    """Means over seeds, of the first sampler and number of images where there are several."""
    found = values_by(rows, "nfe")
    texts = []
    for value in nfe:
        by_coupling = found.get((value,), {})
        means = [number(Cell(by_seed, {}).mean) for by_seed in by_coupling.values()]
        texts.append(means[0] if means else "-")
    return texts
