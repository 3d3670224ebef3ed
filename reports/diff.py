"""What changed between two runs, or two folders of runs: ``python -m reports.diff A B``.

Rows are matched by what they measure and by the run that they are of. What is one and the same
within A and within B, such as the coupling of two single runs, is no part of that: it is among the
differences of the configuration instead.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.process.console import reader
from bench.record import write_bytes
from reports.tables.groups import counts_images
from reports.tables.metrics import metric_rank
from reports.tables.runs import Excluded, ReportError, Run, is_run, read
from reports.tables.select import is_adaptive
from reports.tables.tidy import results, varying_fields
from reports.text import MISSING, aligned, number

if TYPE_CHECKING:
    import pandas as pd

DESCRIPTION = """What changed from A to B: fields of the configuration and the provenance, then numbers.

Numbers are matched by what they measure and by the run that they are of; "relative" is the change over A's value. The
biggest relative changes come first, whatever they measure: a change of one seed may be chance.

Examples:
  python -m reports.diff runs/RUN_1 runs/RUN_2
  python -m reports.diff runs-before runs-after --csv changes.csv
"""
SHOWN = 20  # changes, and values of a field

_WHAT = ["metric", "split", "nfe", "rho", "sampler", "start", "guidance", "n", "sigma"]
_WHOSE = ("data", "coupling", "training.pool", "seed")
_WIDTH = 100  # of a value of a field


@dataclass(frozen=True)
class Change:
    """A field with its values in A and in B, as text; empty where there is none."""

    field: str
    before: str
    after: str


@dataclass(frozen=True)
class Diff:
    """What changed.

    Attributes: config: fields of the configuration. provenance: fields of the provenance. rows: the
        measurements of both, biggest relative change first: the columns that matched them and ``a,
        b,
            change`` (b - a) and ``relative`` (change over the absolute value of a; infinite where a
            is 0 or one of the two is not finite).
        only_a: how many measurements have no counterpart in B.
        only_b: how many have none in A.
        left_out: folders that could not be used, and why.

    """

    config: list[Change]
    provenance: list[Change]
    rows: pd.DataFrame
    only_a: int
    only_b: int
    left_out: list[str]


def diff(a: Path, b: Path) -> Diff:
    """What changed from A to B, each a run folder or a folder that holds run folders.

    Raises:
        ReportError: there is no finished run, or its rows cannot be told apart.

    """
    (before, without_a), (after, without_b) = _side(a), _side(b)
    left_out = [f"{item.folder} ({item.reason})" for item in (*without_a, *without_b)]
    fields = {
        name: _changes(
            [getattr(run, name) for run in before], [getattr(run, name) for run in after]
        )
        for name in ("config", "provenance")
    }
    return Diff(**fields, **_numbers(before, after), left_out=left_out)


def _side(path: Path) -> tuple[list[Run], list[Excluded]]:
    """The finished runs of one side, and the other folders."""
    single = is_run(path)
    path = path.resolve()
    runs, excluded = read(path.parent, [path.name]) if single else read(path)
    if not runs:
        raise ReportError(
            f"no finished run in {path}: {excluded[0].folder} is left out ({excluded[0].reason})"
        )
    return runs, excluded


def _changes(
    before: Sequence[dict[str, object]], after: Sequence[dict[str, object]]
) -> list[Change]:
    """Fields of which the values in all runs of A are not those in all runs of B."""
    names = sorted({name for record in (*before, *after) for name in record})
    found = [Change(name, _values(name, before), _values(name, after)) for name in names]
    return [change for change in found if change.before != change.after]


def _values(name: str, records: Sequence[dict[str, object]]) -> str:
    return ", ".join(sorted({str(record[name]) for record in records if name in record}))


def _numbers(before: Sequence[Run], after: Sequence[Run]) -> dict[str, object]:
    import pandas as pd

    varying = _varying(before, after)
    keys = [*varying, *_WHAT]
    a, b = (_keyed(side, varying)[[*keys, "value"]] for side in (before, after))
    rows = a.merge(b, on=keys, how="outer", suffixes=("_a", "_b"), indicator=True)
    only = rows["_merge"].value_counts()
    rows = (
        rows[rows["_merge"].eq("both")]
        .rename(columns={"value_a": "a", "value_b": "b"})
        .drop(columns="_merge")
    )
    changes = [_change(x, y) for x, y in zip(rows["a"], rows["b"], strict=True)]
    changes = pd.DataFrame(changes, rows.index, ["change", "relative"], dtype="float64")
    rows = rows.join(changes)
    order = rows["relative"].abs().sort_values(ascending=False, kind="stable").index
    rows = rows.loc[order].reset_index(drop=True)
    return {"rows": rows, "only_a": int(only["left_only"]), "only_b": int(only["right_only"])}


def _varying(before: Sequence[Run], after: Sequence[Run]) -> list[str]:
    """Fields that tell the runs of a side apart, so that they tell which run of the other side is
    the same.
    """
    names = {
        name
        for side in (before, after)
        for name in varying_fields([run.config for run in side], own=())
    }
    return sorted(
        names, key=lambda name: (_WHOSE.index(name) if name in _WHOSE else len(_WHOSE), name)
    )


def _keyed(runs: Sequence[Run], varying: Sequence[str]) -> pd.DataFrame:
    """The tidy table with ``varying`` as text, without what is no part of a row's identity.

    The evaluations that an adaptive sampler took are a result, and so is the number of pools that a
    run trained on.
    """
    table = results(runs)
    table = table.assign(
        nfe=table["nfe"].mask(is_adaptive(table)), n=table["n"].where(counts_images(table))
    )
    for name in varying:
        of_run = {run.run_id: str(run.config.get(name)) for run in runs}
        table[name] = table["run_id"].map(of_run)
    doubles = table[table.duplicated([*varying, *_WHAT])]
    if len(doubles):
        raise ReportError(
            f"{doubles['run_id'].iloc[0]} holds {doubles['metric'].iloc[0]} twice: leave this"
            " run out"
        )
    return table


def _change(a: float, b: float) -> tuple[float, float]:
    """Absolute and relative change."""
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0, 0.0
    change = b - a
    return change, (
        change / abs(a) if a and math.isfinite(change) else math.copysign(math.inf, change)
    )


def as_text(found: Diff) -> str:
    """The differences for a terminal: fields, a line for each metric, and the biggest changes."""
    blocks = [_fields("Configuration", found.config), _fields("Provenance", found.provenance)]
    count = len(found.rows)
    lonely = (
        f"; {found.only_a:,} in A only, {found.only_b:,} in B only"
        if found.only_a or found.only_b
        else ""
    )
    changed = found.rows[found.rows["relative"].ne(0)]
    blocks.append(f"Numbers: {count:,} in both, of which {len(changed):,} changed{lonely}")
    if len(changed):
        blocks += [_by_metric(found.rows), _biggest(changed)]
    if found.left_out:
        blocks.append("\n  ".join(["Left out:", *map(_cut, found.left_out)]))
    return "\n\n".join(blocks) + "\n"


def _fields(title: str, changes: Sequence[Change]) -> str:
    lines = [f"  {c.field}: {_cut(c.before)} -> {_cut(c.after)}" for c in changes]
    return "\n".join(
        [f"{title}: {len(changes)} changed" if changes else f"{title}: the same", *lines]
    )


def _cut(text: str) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return (text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}...") or "(none)"


def _by_metric(rows: pd.DataFrame) -> str:
    lines = [["metric", "rows", "changed", "median", "biggest"]]
    for metric, part in sorted(rows.groupby("metric"), key=lambda item: metric_rank(item[0])):
        if part["relative"].ne(0).any():
            biggest = part["relative"].iloc[0]  # they come in order
            changed = str(part["relative"].ne(0).sum())
            lines.append(
                [
                    metric,
                    str(len(part)),
                    changed,
                    _percent(part["relative"].median()),
                    _percent(biggest),
                ]
            )
    return _table(lines, 1)


def _biggest(changed: pd.DataFrame) -> str:
    """The biggest changes; columns that hold one value only are left out."""
    rows = changed.head(SHOWN)
    where = [name for name in rows.columns[:-4] if name == "metric" or changed[name].nunique() > 1]
    body = [
        [
            *("" if value is None or value != value else _plain(value) for value in row[:-4]),
            *_numbers_of(*row[-4:]),
        ]
        for row in (
            rows[[*where, "a", "b", "change", "relative"]]
            .astype(object)
            .where(lambda x: x.notna(), None)
            .values
        )
    ]
    more = f", {SHOWN} of {len(changed):,} (all: --csv)" if len(changed) > SHOWN else ""
    return f"Biggest changes{more}:\n" + _table(
        [[*where, "A", "B", "B - A", "relative"], *body], len(where)
    )


def _numbers_of(
    a: float | None, b: float | None, change: float | None, relative: float
) -> list[str]:
    shown = [MISSING if value is None else number(value) for value in (a, b, change)]
    return [*shown, _percent(relative)]


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else _cut(str(value))


def _percent(relative: float) -> str:
    return f"{100 * relative:+,.3g} %" if math.isfinite(relative) else "no ratio"


def _table(lines: list[list[str]], left: int) -> str:
    return aligned(lines, [max(map(len, column)) for column in zip(*lines, strict=True)], left)


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m reports.diff",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for side in "AB":
        parser.add_argument(
            side.lower(),
            type=Path,
            metavar=side,
            help="run folder, or folder that holds run folders",
        )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="also write all changes of numbers to this file"
    )
    options = parser.parse_args(args)
    try:
        found = diff(options.a, options.b)
        if options.csv:
            write_changes(found, options.csv)
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(as_text(found), end="")
    return 0


def write_changes(found: Diff, path: Path) -> None:
    """Write ``rows`` as CSV, atomically.

    Raises:
        ReportError: the file cannot be written.

    """
    try:
        write_bytes(path, found.rows.to_csv(index=False, lineterminator="\n").encode())
    except OSError as error:
        raise ReportError(
            f"cannot write {path} ({error.strerror}): choose another file with --csv"
        ) from None


if __name__ == "__main__":
    sys.exit(reader(main))
