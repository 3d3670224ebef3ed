"""Lines on stderr: what a report excludes, and its notes."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from reports.tables.runs import Excluded


def print_remarks(excluded: Iterable[Excluded], notes: Iterable[str]) -> None:
    """Print the folders that a command excludes, and its notes, to stderr."""
    # Not to stdout, from which a script can read the paths.
    for item in excluded:
        print(f"left out: {item.folder}: {item.reason}", file=sys.stderr)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
