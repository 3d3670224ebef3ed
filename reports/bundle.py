"""Finished runs to one small file: ``python -m reports.bundle RUNS -o study.zip``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.process.console import worker
from bench.record import spelled
from bench.record.bundle import SUFFIX, files_of, is_bundle, write_bundle
from reports.files.remarks import print_remarks
from reports.tables.runs import CannotWrite, Excluded, ReportError, Run
from reports.tables.search import FILE, as_csv, pilots
from reports.tables.studies import opened
from reports.text import plural

DESCRIPTION = """Put the finished runs of folders into one zip file that reports read like a folder.

It holds what reports need, some kilobytes a run: configuration, provenance, measurements and their
descriptions, status, and the pictures and points of the smallest seed of each coupling, which are
those that a page shows. It holds no checkpoints and no samples. Equal runs give equal bytes, and an
interrupted command leaves an earlier bundle whole. RUNS may be bundles too: they are merged.

python -m reports.build, reports.diff and slurm.submit --have take bundles for folders. Unpacked, a
bundle is a folder of run folders.

Examples:
  python -m reports.bundle runs -o study.zip
  python -m reports.bundle runs earlier.zip -o both.zip
"""


@dataclass(frozen=True)
class Bundled:
    """A bundle that was written.

    Attributes:
        path: its file.
        size: in bytes.
        runs: number of runs in it.
        excluded: the folders that are not in it.
        notes: lines on runs that were counted once.

    """

    path: Path
    size: int
    runs: int
    excluded: tuple[Excluded, ...]
    notes: tuple[str, ...]


def bundle(studies: Sequence[Path], out: Path | None = None) -> Bundled:
    """Write the finished runs of folders and bundles into one bundle, atomically.

    Args:
        studies: folders that hold run folders, single run folders, and bundles.
        out: the file; by default the name of the first study with the ending ``.zip``.

    Raises:
        ReportError: there is no finished run, or one holds other numbers in two studies, or the
            file exists and is not a bundle.
        CannotWrite: the file cannot be written.

    """
    target = out or _beside_first(studies)
    # A misplaced -o must not cost a file of another kind.
    if target.exists() and not is_bundle(target):
        raise ReportError(f"{target} exists and is not a bundle: choose another file with --out")
    with opened(studies) as found:
        tables = [run.study for run in found.runs if run.from_csv]
        if tables:
            raise ReportError(f"{tables[0]} holds no run folders, which a bundle is made of")
        if not found.runs:
            names = " ".join(map(str, studies))
            item = found.excluded[0]
            raise ReportError(
                f"no finished run in {names}: {item.folder} is left out ({item.reason})"
            )
        files = _files(found.runs)
    try:
        size = write_bundle(target, files)
    except OSError as error:
        raise CannotWrite(target.parent, error.strerror) from None
    return Bundled(target, size, len(found.runs), tuple(found.excluded), tuple(found.notes))


def _beside_first(studies: Sequence[Path]) -> Path:
    for study in studies:
        if study.is_dir():
            # "." has no name before it is resolved.
            named = study if study.name else study.resolve()
            return named.with_name(f"{named.name}{SUFFIX}")
    raise ReportError("no folder among them that the bundle could be named after: give --out FILE")


def _files(runs: Sequence[Run]) -> dict[str, bytes]:
    """Name in the bundle to content."""
    first = first_seeds(runs)
    files: dict[str, bytes] = {}
    for run in runs:
        files |= files_of(run.path, pictures=run.run_id in first)
    # The page shows the search of noise laws, which belongs to no single run.
    rows = pilots([run.path.parent for run in runs])
    if rows:
        files[FILE] = as_csv(rows).encode()
    return files


def first_seeds(runs: Iterable[Run]) -> set[str]:
    """Names of the runs with the smallest seed among those that are equal in all else."""
    # Of these pages take pictures, and of whichever study has a smaller seed once it is merged.
    first: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: int(run.config["seed"])):
        first.setdefault(json.dumps({**run.config, "seed": None}, sort_keys=True), run)
    return {run.run_id for run in first.values()}


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    parser = argparse.ArgumentParser(
        prog=spelled("python -m reports.bundle"),
        description=spelled(DESCRIPTION),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUNS",
        help="folder that holds run folders, or bundle of them",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        help="the bundle (default: RUNS.zip, next to the first folder)",
    )
    options = parser.parse_args(args)
    try:
        made = bundle(options.runs, options.out)
    except ReportError as error:
        print(spelled(f"error: {error}"), file=sys.stderr)
        return 2
    print_remarks(made.excluded, made.notes)
    print(f"bundle: {made.path} ({plural(made.runs, 'run')}, {made.size / 1000:,.0f} kB)")
    return 0


if __name__ == "__main__":
    sys.exit(worker(main))
