"""The comparison in the terminal, at the end of a session of training."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from bench.process.console import SPELLED
from reports.files.answer import answer_text
from reports.files.steered import guidance_lines, starts_table
from reports.overview.first_screen import first_screen
from reports.overview.seeds import notes
from reports.overview.warnings import UNEVEN, unevenness
from reports.tables.arms import BASELINE, is_baseline, ordered
from reports.tables.groups import Group, groups
from reports.tables.panels import Panel
from reports.tables.runs import Run
from reports.tables.statistics import Cell
from reports.text import aligned, number, percent, pieces

if TYPE_CHECKING:
    import pandas as pd

_WIDTH = 109
_NFE_WIDTH = 5
_CELL_WIDTH = 14  # of a mean with its ratio
_TIMES = ("coupling_ms", "coupling_fit_seconds", "images_per_s")
_MOST_PER_RUN = 6  # values per run that fit next to each other


def terminal_table(table: pd.DataFrame, runs: Sequence[Run] = ()) -> str:
    """The comparison as plain text under 110 columns, the couplings of each group side by side.

    Args:
        table: tidy results.
        runs: the runs that they are of; their files describe the metrics.

    """
    blocks = []
    for group in groups(table, runs):
        plain = group.plain
        blocks.append(answer_text(first_screen(group), _WIDTH))
        blocks.append(_heading(group))
        judged = [panel for panel in plain.panels if panel.judged]
        # Published recipes may sample with Euler's method alone.
        blocks += map(_curve, [panel for panel in judged if panel.plain] or judged)
        blocks.append("\n".join(textwrap.fill(line, _WIDTH) for line in notes(plain)))
        blocks.append(_per_run(plain))
        blocks.append(guidance_lines(group, _WIDTH))
        blocks.append(starts_table(group))
    text = "\n\n".join(block for block in blocks if block) + "\n"
    # A C locale or an old code page lacks the other letters.
    return text.encode("ascii", SPELLED).decode()


def _heading(group: Group) -> str:
    different = set(map(tuple, group.seeds.values()))
    if len(different) == 1:
        seeds = ", ".join(map(str, *different))
    else:
        seeds = "; ".join(
            f"{name}: {', '.join(map(str, own))}" for name, own in group.seeds.items()
        )
    word = "seed" if sum(map(len, different)) == 1 else "seeds"
    meaning = "Mean over seeds"
    if any(map(is_baseline, group.own_couplings)):
        meaning += (
            f"; (ratio to {BASELINE}; * = 95 % interval excludes 1, needs 3 seeds; other metrics"
            " and NFEs than the primary question are adjusted by Holm's method)"
        )
    return textwrap.fill(f"{group.title}, {word} {seeds}. {meaning}", _WIDTH)


def _curve(panel: Panel) -> str:
    """A table of one metric: rows NFE, columns couplings, below each other if they are many."""
    title = f"{panel.title} ({panel.note})" if panel.note else panel.title
    parts = [title]
    if panel.floor:
        floor = panel.floor.words.replace("±", "+-")
        line = f"real images: {floor}; ~ marks values near this floor, where ratios mean little"
        parts.append(line)
    # Room for the mark
    mark = int(panel.floor is not None)
    for couplings in _fitting(ordered(panel.rows["coupling"]), mark):
        widths = [_NFE_WIDTH, *[_width(name) + mark for name in couplings]]
        lines = _head(couplings)
        for nfe, row in panel.cells.items():
            cells = [_marked(panel, row[name]) if name in row else "-" for name in couplings]
            lines.append([str(nfe), *cells])
        parts.append(aligned(lines, widths=widths))
    return "\n".join(parts)


def _fitting(couplings: Sequence[str], mark: int) -> list[list[str]]:
    """Couplings in lists that fit next to each other; names are broken, so that one always fits.

    ``mark`` is the number of letters that a cell may be wider.
    """
    lists: list[list[str]] = []
    left = 0
    for coupling in couplings:
        width = _width(coupling) + mark + 2
        if width > left:
            lists.append([])
            left = _WIDTH - _NFE_WIDTH
        lists[-1].append(coupling)
        left -= width
    return lists


def _head(couplings: Sequence[str]) -> list[list[str]]:
    """Names in lines, of which the last ones stand next to each other."""
    # Upside down, so that short names stand at the bottom, next to their numbers.
    upwards = [pieces(name)[::-1] for name in couplings]
    lines = [["", *line] for line in zip_longest(*upwards, fillvalue="")]
    lines[0][0] = "NFE"
    return lines[::-1]


def _per_run(group: Group) -> str:
    """A table of the values per run: rows couplings."""
    cells: dict[str, Mapping[str, Cell]] = {}
    # Times of a busy machine would be read as those of the couplings.
    hidden = _TIMES if unevenness(group) > UNEVEN else ()
    for panel in group.values:
        if panel.metric in hidden:
            continue
        # The first setting of each metric, which is the plain one: more do not fit.
        if panel.info.kind in ("path", "cost") and panel.info.terminal:
            cells.setdefault(panel.metric, panel.cells[None])
    columns = group.metrics.ordered(cells)[:_MOST_PER_RUN]
    table = _of_columns(group, cells, columns)
    # Metrics of the user's own may have names so long that fewer columns fit.
    while len(columns) > 1 and max(map(len, table.splitlines())) > _WIDTH:
        columns.pop()
        table = _of_columns(group, cells, columns)
    return table


def _of_columns(
    group: Group, cells: Mapping[str, Mapping[str, Cell]], columns: Sequence[str]
) -> str:
    """The table of some metrics; empty without any."""
    if not columns:
        return ""
    lines = [["coupling", *columns]]
    for coupling in group.own_couplings:
        first, *more = pieces(coupling)
        texts = []
        for metric in columns:
            cell = cells[metric].get(coupling)
            texts.append(_value(group, metric, cell, coupling) if cell else "-")
        lines.append([first, *texts])
        lines += [[f"  {piece}", *[""] * len(columns)] for piece in more]
    return aligned(lines, left=1)


def _value(group: Group, metric: str, cell: Cell, coupling: str) -> str:
    if group.metrics[metric].share:
        return percent(cell.mean)
    if metric == "transport_cost" and coupling in group.cost_cut:
        return f"{number(cell.mean)} ({percent(group.cost_cut[coupling])} saved)"
    return _with_ratio(cell) if group.metrics[metric].ratio else number(cell.mean)


def _with_ratio(cell: Cell) -> str:
    if cell.ratio is None:
        return number(cell.mean)
    # A ratio alone looks as certain with one seed as with ten, so a claim is marked.
    claimed = "" if cell.side == "unclear" else "*"
    return f"{number(cell.mean)} (x{cell.ratio:.2f}{claimed})"


def _marked(panel: Panel, cell: Cell) -> str:
    """The cell; a value near the floor is marked."""
    if panel.floor is None:
        return _with_ratio(cell)
    # A space in place of the mark, so that numbers stand below each other.
    return f"{_with_ratio(cell)}{'~' if panel.floor.is_near(cell.mean) else ' '}"


def _width(coupling: str) -> int:
    return max([_CELL_WIDTH, *map(len, pieces(coupling))])
