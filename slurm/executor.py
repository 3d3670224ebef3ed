"""Submitit, as this project uses it: arrays on a cluster, a few processes at a time on this machine."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.record import COMMAND, command_line
from slurm.folder import SweepFolder
from slurm.job import ReportTask, RunTask
from slurm.plan import Array
from slurm.resources import Resources, SweepError, sbatch_parameters
from slurm.snapshot import Snapshot
from slurm.sweep import Entry

if TYPE_CHECKING:
    import submitit

# A run resumes after its time limit, so reaching it is no fault; this ends a run that never gets anywhere.
_MAX_TIMEOUTS = 20
_POLL_S = 0.2
_REPORT_MINUTES = 30


def tasks_of(entries: tuple[Entry, ...], folder: SweepFolder, data_dir: Path | None) -> list[RunTask]:
    """One task per run, with absolute paths."""
    where = data_dir.resolve() if data_dir else None
    return [
        RunTask(
            entry.config,
            folder.runs_dir,
            where,
            "cuda" if entry.resources.gpus else "cpu",
            entry.resources.cpus,
            entry.resources.all_processes,
            folder.path / "attempts",
        )
        for entry in entries
    ]


def _setup(code: Snapshot) -> list[str]:
    """Shell lines before a job: which code it imports, and what to record as the command that a person typed."""
    return [*code.setup(), f"export {COMMAND}={shlex.quote(command_line())}"]


def script(array: Array, name: str, folder: SweepFolder, code: Snapshot, max_parallel: int | None) -> str:
    """The script that ``sbatch`` would receive, made by submitit as at submission."""
    from submitit.slurm.slurm import _make_sbatch_string

    logs = folder.path / "logs" / "%A"
    command = f"{shlex.quote(sys.executable)} -u -m submitit.core._submit {shlex.quote(str(logs))}"
    count = {"map_count": len(array.entries)} if len(array.entries) > 1 else {}
    asked = sbatch_parameters(array.resources, name, folder.comment, _setup(code), array_parallelism=max_parallel)
    return _make_sbatch_string(command, logs, **count, **asked)


def submit_arrays(
    arrays: list[Array], name: str, folder: SweepFolder, code: Snapshot, max_parallel: int | None, data_dir: Path | None
) -> list[str]:
    """Submit the arrays and write their jobs down, each before the next; their ids.

    A limit on parallel runs holds in one array alone, so with one they follow one another.

    Raises:
        SweepError: sbatch refuses, for instance because there is no such partition.

    """
    jobs, ids = folder.jobs(), []
    for array in arrays:
        after = f"afterany:{ids[-1]}" if max_parallel and ids else None
        asked = sbatch_parameters(
            array.resources, name, folder.comment, _setup(code), array_parallelism=max_parallel, dependency=after
        )
        submitted = _sbatch(folder, asked, tasks_of(array.entries, folder, data_dir))
        ids.append(submitted[0].split("_")[0])
        jobs.runs.update({entry.run_id: job for entry, job in zip(array.entries, submitted, strict=True)})
        folder.write_jobs(jobs)
    return ids


def submit_report(entries: list[Entry], name: str, folder: SweepFolder, code: Snapshot, after: list[str]) -> str:
    """Submit the job that builds the report once all others have ended, well or not; its id."""
    first = entries[0].resources
    use = Resources(_REPORT_MINUTES, cpus=1, memory_gb=4, partition=first.partition, account=first.account,
                    extra={key: value for key, value in first.extra.items() if key == "qos"})  # fmt: skip
    dependency = f"afterany:{':'.join(after)}"
    asked = sbatch_parameters(use, f"{name}-report", folder.comment, _setup(code), dependency=dependency)
    task = ReportTask(folder.runs_dir, tuple(entry.run_id for entry in entries), folder.path)
    (job,) = _sbatch(folder, asked, [task])
    jobs = folder.jobs()
    if jobs.report:
        jobs.past_reports.append(jobs.report)
    jobs.report = job
    folder.write_jobs(jobs)
    return job


def _sbatch(folder: SweepFolder, asked: dict[str, Any], tasks: list) -> list[str]:
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = submitit.AutoExecutor(folder.path / "logs" / "%A", "slurm", slurm_max_num_timeout=_MAX_TIMEOUTS)
    executor.update_parameters(**{f"slurm_{key}": value for key, value in asked.items()})
    try:
        with _outside_any_job():
            return [job.job_id for job in executor.submit_array(tasks)]
    except (FailedJobError, FailedSubmissionError) as error:
        reason = " ".join(str(error).split())
        raise SweepError(f"sbatch refuses, see [resources]: {reason}") from error
    except OSError as error:
        raise SweepError(
            f"cannot write to {folder.path} ({error.strerror}): make room, or choose other --runs"
        ) from error


@contextmanager
def _outside_any_job() -> Iterator[None]:
    """A submission from inside a job would inherit its size; but where SLURM is stays known."""
    from submitit.helpers import clean_env

    conf = {key: os.environ[key] for key in ("SLURM_CONF",) if key in os.environ}
    with clean_env():
        os.environ.update(conf)
        yield


def run_here(
    where: str, entries: list[Entry], folder: SweepFolder, logs: Path, code: Snapshot, limit: int, data_dir: Path | None
) -> int:
    """Run on this machine, ``limit`` at a time, wait, and build the report; 1 if a run failed."""
    tasks = tasks_of(tuple(entries), folder, data_dir)
    failed = 0
    if where == "debug":
        executor = local_executor("debug", entries[0].resources, logs, [])
        for task in tasks:
            if error := executor.submit(task).exception():
                raise error
    else:
        executors = {repr(e.resources): local_executor("local", e.resources, logs, _setup(code)) for e in entries}
        jobs = run_locally(
            [(executors[repr(e.resources)], task) for e, task in zip(entries, tasks, strict=True)], limit
        )
        written = folder.jobs()
        written.runs.update(
            {entry.run_id: f"{logs.name}/{job.job_id}" for entry, job in zip(entries, jobs, strict=True)}
        )
        folder.write_jobs(written)
        failed = _report(jobs, entries)
    ReportTask(folder.runs_dir, tuple(folder.run_ids()), folder.path)()
    return int(failed > 0)


def local_executor(where: str, use: Resources, logs: Path, setup: list[str]) -> submitit.AutoExecutor:
    """Submitit's executor for this machine."""
    import submitit

    executor = submitit.AutoExecutor(logs, where, slurm_max_num_timeout=_MAX_TIMEOUTS)
    # Without gpus_per_node, submitit's local executor hides the GPU.
    executor.update_parameters(
        timeout_min=use.minutes, gpus_per_node=use.gpus, tasks_per_node=use.node_processes,
        **({"local_setup": setup} if where == "local" and setup else {}),
    )  # fmt: skip
    return executor


def run_locally(work: list[tuple[submitit.AutoExecutor, Any]], limit: int) -> list[submitit.Job]:
    """Run tasks in processes on this machine, ``limit`` at a time, and wait for them.

    Submitit's local executor has no queue and starts all it is given, so the tasks are held back here.
    """
    jobs: list[submitit.Job] = []
    for executor, task in work:
        _wait_until_running(jobs, limit - 1)
        jobs.append(executor.submit(task))
    _wait_until_running(jobs, 0)
    return jobs


def _wait_until_running(jobs: list[submitit.Job], at_most: int) -> None:
    while sum(not job.done() for job in jobs) > at_most:
        time.sleep(_POLL_S)


def _report(jobs: list[submitit.Job], entries: list[Entry]) -> int:
    failed = 0
    for job, entry in zip(jobs, entries, strict=True):
        error = job.exception()
        failed += error is not None
        print(f"failed  {entry.label}  see {job.paths.stderr}" if error else f"done    {entry.label}")
    return failed
