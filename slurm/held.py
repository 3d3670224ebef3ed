"""Runs of a sweep that other studies hold: bundles, or folders of run folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.record import RunFolder
from bench.record.bundle import BundleError, put, run_folders
from slurm.entry import Entry
from slurm.resources import SweepError


@contextmanager
def held(studies: Sequence[Path], entries: Sequence[Entry]) -> Iterator[dict[str, Path]]:
    """Names of the runs that studies hold finished to their folders, until the context ends.

    Only runs count that hold all rows that the sweep asks for.

    Raises:
        SweepError: a study cannot be read.

    """
    with ExitStack() as stack:
        try:
            folders = [stack.enter_context(run_folders(path)) for path in studies]
        except BundleError as error:
            raise SweepError(str(error)) from None
        found: dict[str, Path] = {}
        for entry in entries:
            # By name, which holds the hash of all that affects the numbers.
            paths = [folder / entry.run_id for folder in folders]
            whole = [path for path in paths if path.is_dir() and _is_done(path, entry)]
            # The first study that has it: others hold the same, or a report refuses them.
            if whole:
                found[entry.run_id] = whole[0]
        yield found


def _is_done(path: Path, entry: Entry) -> bool:
    # Loads torch, which a command line of no studies does not need.
    from bench.arm import is_done

    folder = RunFolder(path)
    try:
        folder.check_identity(entry.config.identity)
        return is_done(folder, entry.config)
    except (OSError, ValueError) as error:
        raise SweepError(f"{entry.run_id} cannot be taken: {error}") from None


def wanted(found: Iterable[str], runs_dir: Path) -> list[str]:
    """The runs without a folder of their own."""
    # A run that was begun here has a checkpoint, which nobody may lose: it is resumed.
    return [run_id for run_id in found if not (runs_dir / run_id).exists()]


def take(found: dict[str, Path], runs_dir: Path) -> list[str]:
    """Copy the wanted runs without checkpoints and samples into a folder of run folders.

    Returns:
        Their names.

    Raises:
        SweepError: it cannot be written.

    """
    taken = wanted(found, runs_dir)
    for run_id in taken:
        try:
            put(found[run_id], runs_dir)
        except OSError as error:
            raise SweepError(
                f"cannot write {runs_dir / run_id} ({error.strerror}): make room, or choose other"
                " --runs"
            ) from None
    return taken
