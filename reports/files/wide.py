"""Wide tables beside the tidy one: means with spread and number of seeds, as CSV, Markdown and
LaTeX (booktabs).

The numbers are those of the page's tables. The CSV has three columns for each of theirs (mean,
sample standard deviation, seeds); Markdown and LaTeX show them rounded as ``8.28 ± 0.12 (3)``.
"""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from reports.tables.groups import Group, Panel, side_by_side
from reports.tables.rho import rho_label
from reports.tables.statistics import Cell, cost_cuts, ordered
from reports.text import MISSING, number, short

CURVATURE = (
    "curvature_fm", "path_excess_fm", "path_excess_sigma", "turning_angle_fm", "turning_angle_sigma",
)  # fmt: skip
COST = (
    "coupling_ms", "coupling_share", "coupling_wait_share", "coupling_fit_seconds", "images_per_s", "train_seconds",
    "transport_cost", "transport_cost_independent",
)  # fmt: skip
CUT = "transport_cut"
"""Share of the independent transport cost that the pairing saves."""


@dataclass(frozen=True)
class Wide:
    """One table.

    Attributes: title: the comparison, and what is shown of it. keys: name to value of what holds
        for all its rows; columns of the CSV, in its title elsewhere. over: what a row is, ``NFE``
        or ``coupling``. columns: their names, in order. rows: place, such as the NFE, to column to
        cell.

    """

    title: str
    keys: dict[str, str]
    over: str
    columns: list[str]
    rows: dict[str, dict[str, Cell]] = field(repr=False)


def wide_files(groups: Sequence[Group]) -> dict[str, str]:
    """File name to content: three tables of all groups, each in three formats."""
    # Guided sampling and other starts are in the tidy table
    groups = [group.plain for group in groups]
    tables = {
        "fd_vs_nfe": [table for group in groups for table in fd_vs_nfe(group)],
        "curvature": [table for group in groups for table in by_coupling(group, CURVATURE)],
        "solver_cost": [table for group in groups for table in by_coupling(group, COST)],
    }
    formats = {"csv": to_csv, "md": to_markdown, "tex": to_latex}
    return {
        f"{name}.{end}": write(found)
        for name, found in tables.items()
        for end, write in formats.items()
    }


def fd_vs_nfe(group: Group) -> list[Wide]:
    """Frechet distances: rows NFE, columns the couplings, each at the fixed and at its best rho;
    random first.
    """
    curves = [
        p for p in group.panels if p.per_nfe and (p.metric == "fid" or p.metric.startswith("fd_"))
    ]
    found = []
    for shared in side_by_side(curves):
        places = [
            (arm, panel)
            for arm in ordered(a for p in shared for a in p.rows["coupling"])
            for panel in shared
        ]
        names = {
            (arm, panel.schedule): ", ".join(filter(None, (arm, _schedule(panel))))
            for arm, panel in places
        }
        rows: dict[str, dict[str, Cell]] = {}
        for nfe in sorted({nfe for panel in shared for nfe in panel.cells}):
            here = [(arm, panel) for arm, panel in places if arm in panel.cells.get(nfe, {})]
            rows[str(nfe)] = {
                names[arm, panel.schedule]: panel.cells[nfe][arm] for arm, panel in here
            }
        columns = [name for name in names.values() if any(name in row for row in rows.values())]
        keys = {
            "metric": shared[0].metric,
            "split": shared[0].split or "",
            "settings": shared[0].settings,
        }
        found.append(_wide(group, keys, "nfe", columns, rows))
    return found


def by_coupling(group: Group, metrics: Sequence[str]) -> list[Wide]:
    """Metrics with one value an arm: rows couplings, random first; one table for each setting."""
    by_settings: dict[str, dict[str, dict[str, Cell]]] = {}
    for panel in group.panels:
        if panel.over is None and panel.metric in metrics and panel.split is None:
            by_settings.setdefault(panel.settings, {})[panel.metric] = panel.cells[None]
    found = []
    for settings, columns in by_settings.items():
        if {"transport_cost", "transport_cost_independent"} <= columns.keys():
            columns[CUT] = cost_cuts(group.rows)
        arms = ordered(arm for cells in columns.values() for arm in cells)
        rows = {
            arm: {name: cells[arm] for name, cells in columns.items() if arm in cells}
            for arm in arms
        }
        names = [name for name in (*metrics, CUT) if name in columns]
        found.append(_wide(group, {"settings": settings}, "coupling", names, rows))
    return found


def _wide(
    group: Group,
    keys: dict[str, str],
    over: str,
    columns: list[str],
    rows: dict[str, dict[str, Cell]],
) -> Wide:
    title = ", ".join(part for part in (group.title, *keys.values()) if part)
    return Wide(title, {"comparison": group.title, **keys}, over, columns, rows)


def _schedule(panel: Panel) -> str:
    """Fixed or best rho; where a group has one rho only its name says which."""
    rhos = panel.rows["rho"].dropna().unique()
    return panel.schedule or (rho_label(rhos[0]) if len(rhos) == 1 else "")


def to_csv(tables: Sequence[Wide]) -> str:
    """All tables one below the other; a column that one of them lacks is empty there."""
    keys = list(dict.fromkeys(key for table in tables for key in table.keys))
    columns = list(dict.fromkeys(name for table in tables for name in table.columns))
    over = tables[0].over if tables else "coupling"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [*keys, over, *(f"{name} {part}" for name in columns for part in ("mean", "sd", "seeds"))]
    )
    for table in tables:
        for place, row in table.rows.items():
            values = [value for name in columns for value in _values(row.get(name))]
            writer.writerow([*(table.keys.get(key, "") for key in keys), place, *values])
    return text.getvalue()


def _values(cell: Cell | None) -> tuple[str, str, str]:
    if cell is None:
        return "", "", ""
    return repr(cell.mean), "" if cell.spread is None else repr(cell.spread), str(len(cell.values))


def to_markdown(tables: Sequence[Wide]) -> str:
    """A heading and a pipe table each; whatever a name holds is text."""
    blocks = []
    for table in tables:
        lines = [[_HEADS[table.over], *table.columns], *_body(table, MISSING, "±")]
        first, *rest = ["| " + " | ".join(map(_markdown, line)) + " |" for line in lines]
        rule = "|---|" + "---:|" * len(table.columns)
        blocks.append("\n".join([f"**{_markdown(table.title)}**", "", first, rule, *rest]))
    return "\n\n".join([_NOTE, *blocks]) + "\n"


def to_latex(tables: Sequence[Wide]) -> str:
    """A ``table`` with ``booktabs`` rules each; whatever a name holds is text."""
    blocks = [f"% {_NOTE}\n% \\usepackage{{booktabs}}"]
    for table in tables:
        head, *body = [[_HEADS[table.over], *table.columns], *_body(table, "--", "±")]
        blocks.append(
            "\n".join(
                [
                    "\\begin{table}",
                    "\\centering",
                    f"\\caption{{{_latex(table.title)}}}",
                    f"\\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
                    "\\toprule",
                    _latex_row(head),
                    "\\midrule",
                    *map(_latex_row, body),
                    "\\bottomrule",
                    "\\end{tabular}",
                    "\\end{table}",
                ]
            )
        )
    return "\n\n".join(blocks) + "\n"


_HEADS = {"nfe": "NFE", "coupling": "coupling"}
_NOTE = "Mean over seeds ± sample standard deviation (number of seeds)."


def _body(table: Wide, missing: str, sign: str) -> list[list[str]]:
    return [
        [place, *(_shown(row[name], sign) if name in row else missing for name in table.columns)]
        for place, row in table.rows.items()
    ]


def _shown(cell: Cell, sign: str) -> str:
    spread = (
        f" {sign} {short(cell.spread)}"
        if cell.spread is not None and math.isfinite(cell.spread)
        else ""
    )
    return f"{number(cell.mean)}{spread} ({len(cell.values)})"


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]|~#$!])", r"\\\1", html.escape(_one_line(text), quote=False))


_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "–": "--", "−": "$-$",
    **{c: "\\" + c for c in "&%$#_{}"},
}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in _one_line(text))


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"
