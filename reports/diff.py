"""Changes between two runs, or two studies: ``python -m reports.diff A B``.

Rows are matched by what they measure and by their run. A field with one value within A and one
within B, such as the coupling of two single runs, does not count for the match: it is among the
differences of the configuration.
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
from bench.record import spelled, write_bytes
from reports.tables.metrics import Metrics, collect
from reports.tables.panels import counts_images
from reports.tables.runs import Excluded, ReportError, Run
from reports.tables.select import is_adaptive
from reports.tables.studies import opened
from reports.tables.tidy import results, varying_fields
from reports.text import MISSING, aligned, is_missing, number, one_line

if TYPE_CHECKING:
    import pandas as pd

DESCRIPTION = """Changes from A to B: fields of the configuration and the provenance, then numbers.

A and B are run folders, folders that hold run folders, bundles of them (python -m reports.bundle)
or results.csv files, which have little of the provenance.

Numbers are matched by what they measure and by their run; "relative" is the change over A's value.
The biggest relative changes come first, whatever they measure: a change of one seed may be chance.

Examples:
  python -m reports.diff runs/RUN_1 runs/RUN_2
  python -m reports.diff runs-before runs-after --csv changes.csv
  python -m reports.diff study.zip runs
"""
SHOWN = 20  # changes, and values of a field

_WHAT = ["metric", "split", "nfe", "schedule", "sampler", "start", "guidance", "n", "sigma"]
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
    """All changes.

    Attributes:
        config: fields of the configuration.
        provenance: fields of the provenance.
        metrics: descriptions of the metrics, in the order of the report.
        rows: the measurements of both, biggest relative change first: the columns that matched them
            and ``a, b, change`` (b - a) and ``relative`` (change over the absolute value of a;
            infinite if a is 0 or one of the two is not finite).
        only_a: number of measurements without a counterpart in B.
        only_b: number of measurements without one in A.
        left_out: folders that could not be used, with the reasons.

    """

    config: list[Change]
    provenance: list[Change]
    metrics: Metrics
    rows: pd.DataFrame
    only_a: int
    only_b: int
    left_out: list[str]


def diff(a: Path, b: Path) -> Diff:
    """Changes from A to B, each a run folder, a folder that holds run folders, a bundle or a
    results.csv.

    Raises:
        ReportError: there is no finished run, or its rows cannot be distinguished.

    """
    before, without_a = _side(a)
    after, without_b = _side(b)
    rows, metrics = _matched(before, after)
    # A categorical column counts its absent categories too, so a side without such rows gives 0.
    only = rows["_merge"].value_counts()
    return Diff(
        config=_changes([run.config for run in before], [run.config for run in after]),
        provenance=_changes([run.provenance for run in before], [run.provenance for run in after]),
        metrics=metrics,
        rows=_with_changes(rows[rows["_merge"].eq("both")].drop(columns="_merge")),
        only_a=int(only["left_only"]),
        only_b=int(only["right_only"]),
        left_out=[f"{item.folder} ({item.reason})" for item in (*without_a, *without_b)],
    )


def _side(path: Path) -> tuple[list[Run], list[Excluded]]:
    """The finished runs of one side, and the other folders."""
    # Nothing of a run is read later, so a bundle need not stay open.
    with opened([path]) as found:
        runs, excluded = found.runs, found.excluded
    if not runs:
        raise ReportError(
            f"no finished run in {path}: {excluded[0].folder} is left out ({excluded[0].reason})"
        )
    return runs, excluded


def _changes(
    before: Sequence[dict[str, object]], after: Sequence[dict[str, object]]
) -> list[Change]:
    """Fields whose values in all runs of A are not those in all runs of B."""
    changes = []
    for name in sorted(set().union(*before, *after)):
        change = Change(name, _values(name, before), _values(name, after))
        changes += [change] if change.before != change.after else []
    return changes


def _values(name: str, records: Sequence[dict[str, object]]) -> str:
    # Sets, because A and B may hold different numbers of runs: only the values are compared.
    return ", ".join(sorted({str(record[name]) for record in records if name in record}))


def _matched(before: Sequence[Run], after: Sequence[Run]) -> tuple[pd.DataFrame, Metrics]:
    """The rows of both sides next to each other, and the descriptions of their metrics."""
    tables = [results(runs) for runs in (before, after)]
    measured = set().union(*(table["metric"] for table in tables))
    metrics = collect([run.infos for run in (*before, *after)], measured)
    varying = _varying(before, after)
    # A field that varies within a side says which run is which; one that does not may differ
    # between the sides, and is then among the changes of the configuration.
    keys = [*varying, *_WHAT]
    a = _keyed(tables[0], before, varying, metrics)[[*keys, "value"]].rename(columns={"value": "a"})
    b = _keyed(tables[1], after, varying, metrics)[[*keys, "value"]].rename(columns={"value": "b"})
    # pandas matches empty keys with empty keys, which SQL does not: rows without an NFE need that.
    return a.merge(b, on=keys, how="outer", indicator=True), metrics


def _with_changes(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their changes, the biggest relative one first."""
    import pandas as pd

    pairs = [_change(a, b) for a, b in zip(rows["a"], rows["b"], strict=True)]
    changes = pd.DataFrame(pairs, rows.index, ["change", "relative"], dtype="float64")
    rows = rows.join(changes)
    # Stable, so that equal changes keep the order of the tables.
    order = rows["relative"].abs().sort_values(ascending=False, kind="stable").index
    return rows.loc[order].reset_index(drop=True)


def _varying(before: Sequence[Run], after: Sequence[Run]) -> list[str]:
    """Fields that differ between the runs of a side: they say which run of the other side is the
    same.
    """
    names = set()
    for runs in (before, after):
        names.update(varying_fields([run.config for run in runs], own=()))
    first = [name for name in _WHOSE if name in names]
    return first + sorted(names - set(first))


def _keyed(
    table: pd.DataFrame, runs: Sequence[Run], varying: Sequence[str], metrics: Metrics
) -> pd.DataFrame:
    """The tidy table with ``varying`` as text, without values that do not identify a row.

    The evaluations that an adaptive sampler took are a result, and so is the number of pools that a
    run trained on.
    """
    nfe = table["nfe"].mask(is_adaptive(table, metrics))
    table = table.assign(nfe=nfe, n=table["n"].where(counts_images(table, metrics)))
    for name in varying:
        # As text, because merge refuses a column of numbers on one side and of text on the other.
        of_run = {run.run_id: str(run.config.get(name)) for run in runs}
        table[name] = table["run_id"].map(of_run)
    doubles = table[table.duplicated([*varying, *_WHAT])]
    if len(doubles):
        first = doubles.iloc[0]
        raise ReportError(f"{first['run_id']} holds {first['metric']} twice: leave this run out")
    return table


def _change(a: float, b: float) -> tuple[float, float]:
    """Absolute and relative change."""
    # nan is not equal to itself, and inf - inf is nan: two runs that diverged alike are unchanged.
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0, 0.0
    change = b - a
    # A change from zero, or to a value that is not finite, has no size, only a side.
    if a and math.isfinite(change):
        return change, change / abs(a)
    return change, math.copysign(math.inf, change)


def as_text(found: Diff) -> str:
    """The differences for a terminal: fields, a line for each metric, and the biggest changes."""
    blocks = [_fields("Configuration", found.config), _fields("Provenance", found.provenance)]
    changed = found.rows[found.rows["relative"].ne(0)]
    count = f"Numbers: {len(found.rows):,} in both, of which {len(changed):,} changed"
    if found.only_a or found.only_b:
        count += f"; {found.only_a:,} in A only, {found.only_b:,} in B only"
    blocks.append(count)
    if len(changed):
        blocks.append(_by_metric(found.rows, found.metrics))
        blocks.append(_biggest(changed))
    if found.left_out:
        blocks.append("\n  ".join(["Left out:", *map(_cut, found.left_out)]))
    return "\n\n".join(blocks) + "\n"


def _fields(title: str, changes: Sequence[Change]) -> str:
    heading = f"{title}: {len(changes)} changed" if changes else f"{title}: the same"
    lines = [f"  {c.field}: {_cut(c.before)} -> {_cut(c.after)}" for c in changes]
    return "\n".join([heading, *lines])


def _cut(text: str) -> str:
    text = one_line(text)
    if len(text) > _WIDTH:
        return f"{text[: _WIDTH - 3]}..."
    return text or "(none)"


def _by_metric(rows: pd.DataFrame, metrics: Metrics) -> str:
    lines = [["metric", "rows", "changed", "median", "biggest"]]
    for metric in metrics.ordered(rows["metric"]):
        relative = rows["relative"][rows["metric"].eq(metric)]
        # Below, the median and not the mean, which one change from zero would make infinite.
        changed = int(relative.ne(0).sum())
        if changed:
            # The rows come with the biggest change first.
            sizes = [_percent(relative.median()), _percent(relative.iloc[0])]
            lines.append([metric, str(len(relative)), str(changed), *sizes])
    return aligned(lines, left=1)


def _biggest(changed: pd.DataFrame) -> str:
    """The biggest changes; columns with one value only are left out."""
    keys = list(changed.columns[:-4])
    shown = [name for name in keys if name == "metric" or changed[name].nunique() > 1]
    lines = [[*shown, "A", "B", "B - A", "relative"]]
    for row in changed.head(SHOWN).to_dict("records"):
        place = ["" if is_missing(row[name]) else _plain(row[name]) for name in shown]
        values = [_value(row[name]) for name in ("a", "b", "change")]
        lines.append([*place, *values, _percent(row["relative"])])
    more = f", {SHOWN} of {len(changed):,} (all: --csv)" if len(changed) > SHOWN else ""
    return f"Biggest changes{more}:\n{aligned(lines, left=len(shown))}"


def _value(value: float) -> str:
    return MISSING if math.isnan(value) else number(value)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else _cut(str(value))


def _percent(relative: float) -> str:
    return f"{100 * relative:+,.3g} %" if math.isfinite(relative) else "no ratio"


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    parser = argparse.ArgumentParser(
        prog=spelled("python -m reports.diff"),
        description=spelled(DESCRIPTION),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for side in "AB":
        parser.add_argument(
            side.lower(),
            type=Path,
            metavar=side,
            help="run folder, folder that holds run folders, bundle, or results.csv",
        )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="also write all changes of numbers to this file"
    )
    options = parser.parse_args(args)
    try:
        # All errors of reading are one line for the user, not a traceback.
        found = diff(options.a, options.b)
        if options.csv:
            write_changes(found, options.csv)
    except ReportError as error:
        print(spelled(f"error: {error}"), file=sys.stderr)
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
