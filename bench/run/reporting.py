"""The report at the end of a command: a table in the terminal, then files on all of the folder."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.record import one_line


def report(runs_dir: Path, finished: list[str]) -> bool:
    """Print the table of some runs, and write results and page over all of the folder.

    Neither failure costs the other, nor the runs, so each is one line.

    Args:
        runs_dir: folder of run folders.
        finished: names of the runs of the table.

    Returns:
        True if all of it worked.

    """
    from reports.files.terminal import terminal_table
    from reports.tables.runs import read
    from reports.tables.tidy import results

    worked = True
    try:
        runs, _ = read(runs_dir, finished)
        print(terminal_table(results(runs), runs), flush=True)
    except Exception as error:  # noqa: BLE001 - the files matter more than the table
        print(f"error: no table can be shown: {one_line(error)}", file=sys.stderr)
        worked = False
    return write_report(runs_dir) and worked


def write_report(runs_dir: Path) -> bool:
    """Write results and page over all of a folder; True if that worked, else it is one line."""
    from reports.build import build
    from reports.tables.runs import CannotWrite, ReportError

    try:
        # Runs that cannot be compared are marked, for it is too late to refuse them.
        made = build(runs_dir, mixed=True)
    except CannotWrite as error:
        print(
            f"error: {error.problem}: all runs are kept; make room, and the same command reports"
            " them",
            file=sys.stderr,
        )
        return False
    except ReportError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return False
    print(f"\nresults: {made.csv}\nreport:  {made.html}")
    return True
