"""Run folders to ``results.csv``, wide tables and one ``report.html``: ``python -m reports.build
RUNS [--out DIR]``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.process.console import worker
from bench.record import write_bytes
from reports.tables.runs import CannotWrite, Excluded, ReportError, read

DESCRIPTION = """Compare the finished runs of a folder: one page, one CSV, and wide tables.

Written are report.html (self-contained), results.csv (a row for every measurement), and fd_vs_nfe, curvature and
solver_cost as .csv, .md and .tex. Runs are compared with the random arm of the same configuration, seed by seed; runs
that differ in a field of their configuration stand in comparisons of their own. Refused, with the runs named: other
data or features under one name, measurements of other numbers of images, and arms of other training budgets of which
only one has a random arm.

Examples:
  python -m reports.build runs
  python -m reports.build runs --out paper/figures
"""


@dataclass(frozen=True)
class Report:
    """Where the report was written, and the folders that it leaves out."""

    csv: Path
    html: Path
    excluded: tuple[Excluded, ...] = ()


def build(
    runs_dir: Path,
    out_dir: Path | None = None,
    run_ids: list[str] | None = None,
    mixed: bool = False,
) -> Report:
    """Write the report on the finished runs in a folder, into that folder unless ``out_dir`` names
    another.

    ``run_ids`` narrows the report to some runs. What is not comparable
    (``reports.tables.comparable``) is refused, or with ``mixed`` marked. The same runs give the
    same bytes.

    Raises: NotComparable: runs that would be compared must not be. CannotWrite: a file cannot be
        written; each is written whole or not at all, results.csv first. ReportError: no run folder
        is there, or one that was named is missing, or the page or the wide tables cannot be
            made, which costs no other file.

    """
    from reports.files.wide import wide_files
    from reports.page import render
    from reports.tables.comparable import mark, mismatches, refuse
    from reports.tables.groups import groups
    from reports.tables.runs import feature_sizes
    from reports.tables.tidy import csv_bytes, results

    runs, excluded = read(Path(runs_dir), run_ids)
    out = Path(out_dir or runs_dir)
    report = Report(out / "results.csv", out / "report.html", tuple(excluded))
    table = results(runs)
    differing = mismatches(table, runs)
    if not mixed:
        refuse(differing)
    table = mark(table, differing)
    _write(report.csv, csv_bytes(table))
    # The page and the wide tables cannot cost the results, nor each other.
    found = groups(table, feature_sizes(runs))
    problems = [
        _make(
            "the wide tables",
            lambda: {out / name: text.encode() for name, text in wide_files(found).items()},
        ),
        _make(
            report.html.name, lambda: {report.html: render(table, found, runs, excluded).encode()}
        ),
    ]
    if any(problems):
        raise ReportError(f"{'; '.join(filter(None, problems))}; {report.csv} is written") from None
    return report


def _write(path: Path, content: bytes) -> None:
    try:
        write_bytes(path, content)
    except OSError as error:
        raise CannotWrite(path.parent, error.strerror) from None


def _make(what: str, contents: Callable[[], dict[Path, bytes]]) -> str | None:
    """Write files, or say in one line why they cannot be made."""
    try:
        made = contents()
    except Exception as error:  # noqa: BLE001 - whatever fails in a figure, the numbers are worth more
        message = " ".join(f"{type(error).__name__}: {error}".split())
        return f"{what} cannot be made ({message})"
    for path, content in made.items():
        _write(path, content)
    return None


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m reports.build",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", type=Path, metavar="RUNS", help="folder that holds the run folders")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: RUNS)")
    parser.add_argument(
        "--mixed", action="store_true", help="mark what is not comparable instead of refusing it"
    )
    options = parser.parse_args(args)
    try:
        report = build(options.runs, options.out, mixed=options.mixed)
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for left_out in report.excluded:
        print(f"left out: {left_out.folder}: {left_out.reason}", file=sys.stderr)
    print(f"results: {report.csv}\nreport:  {report.html}")
    return 0


if __name__ == "__main__":
    sys.exit(worker(main))
