"""Runs of a sweep on this machine, a few processes at a time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slurm.entry import Entry
from slurm.executor import MAX_TIMEOUTS, setup_lines, tasks_of
from slurm.folder import SweepFolder
from slurm.job import ReportTask, RunTask
from slurm.resources import Resources
from slurm.snapshot import Snapshot

if TYPE_CHECKING:
    import submitit

_POLL_S = 0.2


def run_here(
    where: str,
    entries: list[Entry],
    folder: SweepFolder,
    logs: Path,
    code: Snapshot,
    limit: int,
    data_dir: Path | None,
) -> int:
    """Run on this machine, wait for the end, and build the report.

    Args:
        where: ``local`` for processes, ``debug`` for inside this one.
        entries: the runs.
        folder: the sweep's.
        logs: receives the output of the processes.
        code: the code that the processes import.
        limit: how many processes at a time.
        data_dir: the folder of the data sets, or None for the default.

    Returns:
        0, or 1 if a run failed.

    """
    tasks = tasks_of(tuple(entries), folder, data_dir)
    with _without_percent(logs) as place:
        if where == "debug":
            _run_inside(tasks, entries[0].resources, place)
            failed = 0
        else:
            # Each class of resources needs an executor of its own: limits are the executor's.
            work = []
            for entry, task in zip(entries, tasks, strict=True):
                executor = local_executor("local", entry.resources, place, setup_lines(code))
                work.append((executor, task))
            jobs = run_locally(work, limit)
            names = [f"{logs.name}/{job.job_id}" for job in jobs]
            _write_jobs(folder, entries, names)
            log_files = [folder.log(name) for name in names]
            failed = _print_ends([job.exception() for job in jobs], entries, log_files)
    # Also after failures: the other runs can be compared.
    ReportTask(folder.runs_dir, tuple(folder.run_ids()), folder.path)()
    return int(failed > 0)


def _run_inside(tasks: list[RunTask], use: Resources, logs: Path) -> None:
    """Run tasks inside this process, where a debugger sees them; the first error ends all."""
    executor = local_executor("debug", use, logs, [])
    for task in tasks:
        error = executor.submit(task).exception()
        if error is not None:
            raise error


def local_executor(
    where: str, use: Resources, logs: Path, setup: list[str]
) -> submitit.AutoExecutor:
    """Build submitit's executor for this machine."""
    import submitit

    executor = submitit.AutoExecutor(logs, where, slurm_max_num_timeout=MAX_TIMEOUTS)
    parameters: dict[str, Any] = {
        "timeout_min": use.minutes,
        # Without it, submitit's local executor hides the GPU.
        "gpus_per_node": use.gpus,
        "tasks_per_node": use.node_processes,
    }
    if where == "local" and setup:
        parameters["local_setup"] = setup
    executor.update_parameters(**parameters)
    return executor


def run_locally(
    work: Sequence[tuple[submitit.AutoExecutor, Callable[[], None]]], limit: int
) -> list[submitit.Job]:
    """Run tasks in processes on this machine, ``limit`` at a time, and wait for all of them."""
    jobs: list[submitit.Job] = []
    # Submitit's local executor has no queue: it starts every task at once.
    for executor, task in work:
        _wait_until_running(jobs, limit - 1)
        jobs.append(executor.submit(task))
    _wait_until_running(jobs, 0)
    return jobs


def _wait_until_running(jobs: list[submitit.Job], at_most: int) -> None:
    # Submitit's jobs offer no way to wait for the first of several.
    while sum(not job.done() for job in jobs) > at_most:
        time.sleep(_POLL_S)


def _write_jobs(folder: SweepFolder, entries: list[Entry], names: list[str]) -> None:
    jobs = folder.jobs()
    for entry, name in zip(entries, names, strict=True):
        jobs.runs[entry.run_id] = name
    folder.write_jobs(jobs)


def _print_ends(
    errors: Sequence[BaseException | None], entries: list[Entry], logs: list[Path]
) -> int:
    """Print how each run ended, and return how many failed."""
    failed = 0
    for error, entry, log in zip(errors, entries, logs, strict=True):
        if error is None:
            print(f"done    {entry.label}")
        else:
            print(f"failed  {entry.label}  see {log}")
            failed += 1
    return failed


@contextmanager
def _without_percent(folder: Path) -> Iterator[Path]:
    """Link to a folder by a path without %, which submitit would replace by a job's number."""
    if "%" not in str(folder):
        yield folder
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ot-bench-") as place:
        link = Path(place) / "logs"
        link.symlink_to(folder)
        yield link
