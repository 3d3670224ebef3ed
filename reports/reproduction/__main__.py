"""The command ``python -m reports.reproduction TABLE RUNS``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.process.console import worker
from bench.record import write_bytes, write_csv
from reports.reproduction.compare import Row, compare, ratios
from reports.reproduction.markdown import render
from reports.reproduction.records import gather, merged, read_values, records_of, write_values
from reports.reproduction.table import load
from reports.tables.runs import ReportError

DESCRIPTION = """Compare our runs with a published table, cell by cell.

TABLE is a file such as reports/published/published-tables/sf2m.toml. Next to it are written
NAME.ours.csv (our value of every cell and seed), NAME.comparison.csv and NAME.comparison.md.
Values of earlier calls are kept and new ones added, so a table may be filled task by task;
without RUNS the comparison is made again from what is kept.

Examples:
  python -m reports.reproduction reports/published/published-tables/sf2m.toml runs
  python -m reports.reproduction reports/published/published-tables/cifar10-w2.toml solve.csv
"""


def reproduce(path: Path, sources: Sequence[Path], out: Path | None = None) -> Path:
    """Write the comparison with a published table, and return the path of its Markdown.

    Args:
        path: of the table.
        sources: folders of run folders, and CSV files.
        out: folder to write to; by default that of the table.

    Raises:
        ReportError: the table or a source cannot be read, or two runs claim one cell and seed.

    """
    table = load(path)
    folder = out or path.parent
    kept = folder / f"{path.stem}.ours.csv"
    records = []
    for source in sources:
        records += records_of(source)
    values = merged(table, read_values(kept), gather(table, records))
    rows = compare(table, values)
    page = folder / f"{path.stem}.comparison.md"
    # The values first: the rest is computed from them.
    write_values(kept, values)
    write_csv(folder / f"{path.stem}.comparison.csv", Row, rows)
    write_bytes(page, render(table, rows, ratios(table, values)).encode())
    return page


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m reports.reproduction",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", type=Path, metavar="TABLE", help="TOML file of a published table")
    parser.add_argument(
        "runs", type=Path, nargs="*", metavar="RUNS", help="folders of run folders, or CSV files"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: TABLE's)")
    options = parser.parse_args(args)
    try:
        page = reproduce(options.table, options.runs, options.out)
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(page.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(worker(main))
