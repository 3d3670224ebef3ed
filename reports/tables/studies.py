"""Studies: folders of run folders, bundles and results.csv files, read as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bench.record.bundle import BundleError, run_folders
from reports.tables.csv_runs import SUFFIX, runs_of_csv
from reports.tables.joined import Studies, joined
from reports.tables.runs import ReportError, Run, is_run, read_folder, with_unique_names


@contextmanager
def opened(paths: Sequence[Path], run_ids: list[str] | None = None) -> Iterator[Studies]:
    """Read studies; the pictures of bundles can be read until the context ends.

    Args:
        paths: folders of run folders, single run folders, bundles and results.csv files.
        run_ids: names of the runs to read from folders and bundles; by default all.

    Raises:
        ReportError: one of them cannot be read or has no run, a configuration is not known, or a
            run holds other numbers in two of them.

    """
    with ExitStack() as stack:
        parts = [_read(stack, path, run_ids) for path in paths]
        found = parts[0] if len(parts) == 1 else joined(parts)
        # Now that all are known: a name that two studies use is shared as well.
        yield replace(found, runs=with_unique_names(found.runs))


def _read(stack: ExitStack, path: Path, run_ids: list[str] | None) -> Studies:
    if path.suffix == SUFFIX and path.is_file():
        runs = runs_of_csv(path)
        return Studies(runs, notes=_lacking(path, runs))
    if not path.exists():
        raise ReportError(
            f"{path} does not exist: give the folder that holds the run folders, a bundle or a"
            " results.csv"
        )
    if is_run(path):
        # A run folder given as "." has no name and no parent before it is resolved.
        folder, run_ids = path.resolve().parent, [path.resolve().name]
    else:
        try:
            folder = stack.enter_context(run_folders(path))
        except BundleError as error:
            raise ReportError(str(error)) from None
    try:
        found, excluded = read_folder(folder, run_ids)
    except ReportError as error:
        # The user knows nothing of the folder that a bundle is unpacked in.
        raise ReportError(str(error).replace(str(folder), str(path))) from None
    return Studies([replace(run, study=str(path)) for run in found], excluded)


def _lacking(path: Path, runs: Sequence[Run]) -> list[str]:
    """A line on the gaps of a results.csv."""
    known = all(run.configured for run in runs)
    settings = "" if known else ", nor the settings that are the same in all of them"
    return [f"{path} holds no pictures, hardware, versions or commits of its runs{settings}"]
