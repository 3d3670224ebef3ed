"""The comparison in the terminal, at the end of a session of training."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING

from reports.tables.groups import Group, Panel, cost_cut, groups
from reports.tables.statistics import BASELINE, Cell, ordered
from reports.text import aligned, number, percent, pieces

if TYPE_CHECKING:
    import pandas as pd

_WIDTH = 109


def terminal_table(
    table: pd.DataFrame, sizes: Mapping[str, Mapping[str, int]] | None = None
) -> str:
    """The comparison as plain text under 110 columns: for each group the arms side by side, ratios
    to random.

    ``sizes``: as for ``reports.tables.groups.groups``.
    """
    blocks = []
    for group in groups(table, sizes):
        seeds = "; ".join(f"{arm}: {', '.join(map(str, s))}" for arm, s in group.seeds.items())
        if len({tuple(s) for s in group.seeds.values()}) == 1:
            seeds = ", ".join(map(str, group.seeds[group.arms[0]]))
        heading = f"{group.title}; seeds {seeds} (mean over seeds"
        if BASELINE in group.arms:
            heading += f", in brackets the ratio to {BASELINE}, "
            heading += "with * where its 95 % interval over three seeds or more excludes 1"
        heading += ")"
        blocks.append("\n".join(textwrap.wrap(heading, _WIDTH)))
        found = (group := group.plain).panels
        blocks += [_terminal_curve(panel) for panel in found if panel.judged and panel.plain]
        blocks.append(_terminal_arms(group, found))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _terminal_curve(panel: Panel) -> str:
    body = {
        nfe: {arm: _with_ratio(cell) for arm, cell in arms.items()}
        for nfe, arms in panel.cells.items()
    }
    arms = ordered(panel.rows.coupling)
    parts = []
    # As many arms side by side as the width allows; pieces are so narrow that one always fits
    while arms:
        fit = max(
            k
            for k in range(1, len(arms) + 1)
            if sum(_width(arm) + 2 for arm in arms[:k]) <= _WIDTH - 5
        )
        heads = zip_longest(*(pieces(arm)[::-1] for arm in arms[:fit]), fillvalue="")
        lines = [["", *head] for head in heads][::-1]
        lines[-1][0] = "NFE"
        lines += [
            [str(nfe), *(row.get(arm, "-") for arm in arms[:fit])] for nfe, row in body.items()
        ]
        parts.append(aligned(lines, [5, *map(_width, arms[:fit])]))
        arms = arms[fit:]
    title = f"{panel.title} ({panel.note})" if panel.note else panel.title
    return "\n".join([title, *parts])


def _terminal_arms(group: Group, found: list[Panel]) -> str:
    names = (
        "curvature_fm",
        "transport_cost",
        "coupling_ms",
        "coupling_share",
        "coupling_fit_seconds",
        "images_per_s",
    )
    columns = {name: next((p.cells[None] for p in found if p.metric == name), {}) for name in names}
    columns = {name: column for name, column in columns.items() if column}
    if not columns:
        return ""
    cut = cost_cut(group)
    lines = [["arm", *columns]]
    for arm in group.arms:
        head, *more = pieces(arm)
        shown = [
            _arm_text(name, cells_[arm], cut.get(arm)) if arm in cells_ else "-"
            for name, cells_ in columns.items()
        ]
        lines += [[head, *shown], *([f"  {piece}", *[""] * len(shown)] for piece in more)]
    return aligned(lines, [max(map(len, column)) for column in zip(*lines, strict=True)], left=1)


def _arm_text(name: str, cell: Cell, cut: float | None) -> str:
    if name == "coupling_share":
        return percent(cell.mean)
    if name == "transport_cost" and cut is not None:
        return f"{number(cell.mean)} (cut {percent(cut)})"
    return number(cell.mean) if name == "coupling_ms" else _with_ratio(cell)


def _with_ratio(cell: Cell) -> str:
    claimed = "*" if cell.verdict != "unclear" else ""
    return number(cell.mean) + (f" (x{cell.ratio:.2f}{claimed})" if cell.ratio is not None else "")


def _width(arm: str) -> int:
    return max([14, *map(len, pieces(arm))])
