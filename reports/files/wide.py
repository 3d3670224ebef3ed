"""Wide tables next to the tidy one: means with spread and number of seeds, as CSV, Markdown and
LaTeX.

The numbers are those of the page's tables. The CSV has three columns for each of theirs (mean,
sample standard deviation, seeds); Markdown and LaTeX show them rounded as ``8.28 ± 0.12 (3)``.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.record.infos import Info
from reports.sections import classifier_free
from reports.tables.arms import ordered
from reports.tables.groups import Group
from reports.tables.panels import Panel, side_by_side
from reports.tables.schedules import has_schedule
from reports.tables.statistics import Cell, cost_cuts
from reports.text import MISSING, listed, number, one_line, schedule_label, short

CUT = "transport_cut"  # share of the independent transport cost that the pairing saves
_HEADS = {"nfe": "NFE", "coupling": "coupling"}
_NOTE = "Mean over seeds ± sample standard deviation (number of seeds)."
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


@dataclass(frozen=True)
class Wide:
    """One table.

    Attributes:
        title: the comparison, and the metric if there is one only.
        keys: name to value of what all its rows share: columns of the CSV, in its title elsewhere.
        over: the meaning of a row, ``nfe`` or ``coupling``.
        columns: their names, in order.
        rows: place, such as the NFE, to column to cell.

    """

    title: str
    keys: dict[str, str]
    over: str
    columns: list[str]
    rows: dict[str, dict[str, Cell]] = field(repr=False)


def wide_files(groups: Sequence[Group]) -> dict[str, str]:
    """File name to content: three tables of all groups, each in three formats, and ``cfg_vs_nfe``
    if any run used classifier-free guidance.
    """
    tables: dict[str, list[Wide]] = {"fd_vs_nfe": [], "curvature": [], "solver_cost": []}
    guided: list[Wide] = []
    for group in groups:
        # Other guidance and other starts are in the tidy table only.
        plain = group.plain
        tables["fd_vs_nfe"] += fd_vs_nfe(plain)
        tables["curvature"] += by_coupling(plain, "path")
        tables["solver_cost"] += by_coupling(plain, "cost")
        guided += cfg_vs_nfe(group)
    # Most reports have no classifier-free guidance: they get no empty file.
    if guided:
        tables["cfg_vs_nfe"] = guided
    files = {}
    for name, found in tables.items():
        files[f"{name}.csv"] = to_csv(found)
        files[f"{name}.md"] = to_markdown(found)
        files[f"{name}.tex"] = to_latex(found)
    return files


def fd_vs_nfe(group: Group) -> list[Wide]:
    """Distances to data: rows NFE, columns the couplings, each at the fixed and at its best
    schedule.
    """
    curves = [panel for panel in group.curves if _is_distance(panel.info)]
    found = []
    for shared in side_by_side(curves):
        couplings: set[str] = set()
        for panel in shared:
            couplings.update(panel.rows["coupling"])
        columns: dict[str, None] = {}
        rows: dict[str, dict[str, Cell]] = {}
        # Sorted as numbers before they become text, in which 13 comes before 5.
        nfes = sorted(set().union(*(panel.cells for panel in shared)))
        for coupling in ordered(couplings):
            for panel in shared:
                name = listed([coupling, _schedule(panel)])
                for nfe in nfes:
                    row = rows.setdefault(str(nfe), {})
                    if coupling in panel.cells.get(nfe, {}):
                        row[name] = panel.cells[nfe][coupling]
                        columns[name] = None
        first = shared[0]
        keys = {"metric": first.metric, "split": first.split or "", "settings": first.settings}
        found.append(_wide(group, keys, "nfe", list(columns), rows))
    return found


def _is_distance(info: Info) -> bool:
    # The extrapolated distance judges nothing, but it belongs next to the one it is made from.
    return info.distance or info.family == "fd_infinity"


def by_coupling(group: Group, kind: str) -> list[Wide]:
    """Metrics of one kind with one value per run: rows couplings, one table for each setting."""
    by_settings: dict[str, dict[str, dict[str, Cell]]] = {}
    for panel in group.values:
        if panel.info.kind == kind and panel.split is None:
            by_settings.setdefault(panel.settings, {})[panel.metric] = panel.cells[None]
    found = []
    # Settings differ if, for example, paths were measured with two numbers of images.
    for settings, columns in by_settings.items():
        if {"transport_cost", "transport_cost_independent"} <= columns.keys():
            columns[CUT] = cost_cuts(group.rows)
        rows: dict[str, dict[str, Cell]] = {}
        for coupling in ordered(set().union(*columns.values())):
            own = {name: cells[coupling] for name, cells in columns.items() if coupling in cells}
            rows[coupling] = own
        found.append(_wide(group, {"settings": settings}, "coupling", list(columns), rows))
    return found


def cfg_vs_nfe(group: Group) -> list[Wide]:
    """Metrics under classifier-free guidance: rows NFE, columns the couplings, one table for each
    metric and weight.
    """
    section = classifier_free.build(group)
    if section is None:
        return []
    found = []
    for table in [*section.tables, *section.others]:
        by_weight: dict[str, dict[str, dict[str, Cell]]] = {}
        for row in table.rows:
            by_weight.setdefault(f"{row.weight:g}", {})[str(row.nfe)] = row.cells
        for weight, rows in by_weight.items():
            keys = {"metric": table.info.name, "settings": table.settings, "weight": weight}
            title = listed([group.title, table.title, f"weight {weight}"])
            named = {"comparison": group.title, **keys}
            found.append(Wide(title, named, "nfe", table.couplings, rows))
    return found


def _wide(
    group: Group,
    keys: dict[str, str],
    over: str,
    columns: list[str],
    rows: dict[str, dict[str, Cell]],
) -> Wide:
    title = listed([group.title, *keys.values()])
    return Wide(title, {"comparison": group.title, **keys}, over, columns, rows)


def _schedule(panel: Panel) -> str:
    """Fixed or best schedule; if a group has one only, its name says which."""
    used = panel.rows["schedule"][has_schedule(panel.rows)].unique()
    return panel.schedule or (schedule_label(used[0]) if len(used) == 1 else "")


def to_csv(tables: Sequence[Wide]) -> str:
    """All tables one below the other; a column that one of them lacks is empty there."""
    import pandas as pd

    over = tables[0].over if tables else "coupling"
    keys: dict[str, None] = {}
    columns: dict[str, None] = {}
    records = []
    for table in tables:
        keys |= dict.fromkeys(table.keys)
        columns |= dict.fromkeys(table.columns)
        for place, row in table.rows.items():
            record = {**table.keys, over: place}
            for name, cell in row.items():
                record |= _parts(name, cell)
            records.append(record)
    names = [*keys, over]
    for name in columns:
        names += [f"{name} {part}" for part in ("mean", "sd", "seeds")]
    # Numbers as Python writes them, and whole numbers without a point where some are missing
    frame = pd.DataFrame(records, columns=names, dtype=object)
    return frame.to_csv(index=False, lineterminator="\n")


def _parts(name: str, cell: Cell) -> dict[str, str]:
    """The three columns of a cell."""
    # repr gives the digits from which a reader gets exactly this number back.
    spread = "" if cell.spread is None else repr(cell.spread)
    seeds = str(len(cell.values))
    return {f"{name} mean": repr(cell.mean), f"{name} sd": spread, f"{name} seeds": seeds}


def to_markdown(tables: Sequence[Wide]) -> str:
    """A heading and a pipe table each; names are escaped."""
    blocks = [_NOTE]
    for table in tables:
        lines = [[_HEADS[table.over], *table.columns], *_body(table, MISSING)]
        rows = [f"| {' | '.join(map(_markdown, line))} |" for line in lines]
        rule = "|---|" + "---:|" * len(table.columns)
        heading = f"**{_markdown(table.title)}**"
        blocks.append("\n".join([heading, "", rows[0], rule, *rows[1:]]))
    return "\n\n".join(blocks) + "\n"


def to_latex(tables: Sequence[Wide]) -> str:
    """A ``table`` with ``booktabs`` rules each; names are escaped."""
    import pandas as pd

    blocks = [f"% {_NOTE}\n% \\usepackage{{booktabs}}"]
    for table in tables:
        head = [_latex(name) for name in (_HEADS[table.over], *table.columns)]
        body = [list(map(_latex, line)) for line in _body(table, "--")]
        frame = pd.DataFrame(body, columns=pd.Index(head))
        # Escaped by us: pandas leaves < > | " alone, which old font encodings print as other signs.
        # pandas writes booktabs; the package is named in the first lines.
        latex = frame.to_latex(
            index=False,
            escape=False,
            caption=_latex(table.title),
            column_format="l" + "r" * len(table.columns),
        )
        blocks.append(latex.rstrip())
    return "\n\n".join(blocks) + "\n"


def _body(table: Wide, missing: str) -> list[list[str]]:
    lines = []
    for place, row in table.rows.items():
        cells = [_shown(row[name]) if name in row else missing for name in table.columns]
        lines.append([place, *cells])
    return lines


def _shown(cell: Cell) -> str:
    spread = ""
    if cell.spread is not None and math.isfinite(cell.spread):
        spread = f" ± {short(cell.spread)}"
    return f"{number(cell.mean)}{spread} ({len(cell.values)})"


def _markdown(text: str) -> str:
    # Markdown lets HTML through, and a bar in a name would begin another cell.
    return re.sub(r"([\\`*_\[\]|~#$!])", r"\\\1", html.escape(one_line(text), quote=False))


def _latex(text: str) -> str:
    # Character by character: by one replacement after the other, later ones would escape the
    # backslashes and braces that earlier ones wrote.
    return "".join(_LATEX.get(character, character) for character in one_line(text))
