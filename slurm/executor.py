"""Submitit, as this project uses it: arrays on a cluster, a few processes at a time on this
machine.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
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

# A run resumes after its time limit, so reaching it is no fault; this ends a run that never gets
# anywhere.
_MAX_TIMEOUTS = 20
_POLL_S = 0.2
_REPORT_MINUTES = 30
# What the user's environment may say of a submission, in sbatch's words; and where SLURM itself is.
_PLACE = ("account", "partition", "qos", "reservation", "constraint", "export")
_CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS")


def tasks_of(
    entries: tuple[Entry, ...], folder: SweepFolder, data_dir: Path | None
) -> list[RunTask]:
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
    """Shell lines before a job: which code it imports, and what to record as the command that a
    person typed.
    """
    return [*code.setup(), f"export {COMMAND}={shlex.quote(command_line())}"]


def script(
    array: Array, name: str, folder: SweepFolder, code: Snapshot, max_parallel: int | None
) -> str:
    """The script that ``sbatch`` would receive, made by submitit as at submission."""
    from submitit.slurm.slurm import _make_sbatch_string

    logs = folder.path / "logs" / "%A"
    command = f"{shlex.quote(sys.executable)} -u -m submitit.core._submit {shlex.quote(str(logs))}"
    count = {"map_count": len(array.entries)} if len(array.entries) > 1 else {}
    asked = sbatch_parameters(
        array.resources, name, folder.comment, _setup(code), array_parallelism=max_parallel
    )
    return _make_sbatch_string(command, logs, **count, **asked)


def submit_arrays(
    arrays: list[Array],
    name: str,
    folder: SweepFolder,
    code: Snapshot,
    max_parallel: int | None,
    data_dir: Path | None,
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
            array.resources,
            name,
            folder.comment,
            _setup(code),
            array_parallelism=max_parallel,
            dependency=after,
        )
        submitted = _sbatch(folder, asked, tasks_of(array.entries, folder, data_dir))
        ids.append(submitted[0].split("_")[0])
        jobs.runs.update(
            {entry.run_id: job for entry, job in zip(array.entries, submitted, strict=True)}
        )
        folder.write_jobs(jobs)
    return ids


def submit_report(
    entries: list[Entry], name: str, folder: SweepFolder, code: Snapshot, after: list[str]
) -> str:
    """Submit the job that builds the report once all others have ended, well or not; its id."""
    first = entries[0].resources
    use = Resources(_REPORT_MINUTES, cpus=1, memory_gb=4, partition=first.partition, account=first.account,
                    extra={key: value for key, value in first.extra.items() if key == "qos"})  # fmt: skip
    dependency = f"afterany:{':'.join(after)}"
    asked = sbatch_parameters(
        use, f"{name}-report", folder.comment, _setup(code), dependency=dependency
    )
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

    executor = submitit.AutoExecutor(
        folder.path / "logs" / "%A", "slurm", slurm_max_num_timeout=_MAX_TIMEOUTS
    )
    executor.update_parameters(**{f"slurm_{key}": value for key, value in asked.items()})
    try:
        with _submission(asked):
            return [job.job_id for job in executor.submit_array(tasks)]
    except (FailedJobError, FailedSubmissionError) as error:
        reason = " ".join(str(error).split())
        raise SweepError(f"sbatch refuses, see [resources]: {reason}") from error
    except OSError as error:
        raise SweepError(
            f"cannot write to {folder.path} ({error.strerror}): make room, or choose other --runs"
        ) from error


@contextmanager
def _submission(asked: dict[str, Any]) -> Iterator[None]:
    """The environment of sbatch, whose variables win over the script.

    Of the user's SBATCH_ variables those stay that say where and on whose account to run, unless
    the sweep says it itself; others would change what the jobs rely on, such as their time limit
    and their comment. A submission from inside a job would inherit its size from SLURM_ variables;
    but where SLURM is stays known.
    """
    from submitit.helpers import clean_env

    before = dict(os.environ)
    inside = "SLURM_JOB_ID" in before
    given = {key.replace("-", "_") for key in (*asked, *asked["additional_parameters"])}
    wanted = [f"SBATCH_{key.upper()}" for key in _PLACE if key not in given]
    kept = [*wanted, *(_CLUSTER if inside else [key for key in before if key.startswith("SLURM_")])]
    with clean_env():
        os.environ.update({key: before[key] for key in kept if key in before})
        try:
            yield
        finally:
            for key in kept:
                os.environ.pop(key, None)


@contextmanager
def _without_percent(folder: Path) -> Iterator[Path]:
    """The folder under a path in which submitit finds no % to replace by a job's number."""
    if "%" not in str(folder):
        yield folder
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ot-bench-") as place:
        link = Path(place) / "logs"
        link.symlink_to(folder)
        yield link


def run_here(
    where: str,
    entries: list[Entry],
    folder: SweepFolder,
    logs: Path,
    code: Snapshot,
    limit: int,
    data_dir: Path | None,
) -> int:
    """Run on this machine, ``limit`` at a time, wait, and build the report; 1 if a run failed."""
    tasks = tasks_of(tuple(entries), folder, data_dir)
    with _without_percent(logs) as place:
        if where == "debug":
            executor = local_executor("debug", entries[0].resources, place, [])
            for task in tasks:
                if error := executor.submit(task).exception():
                    raise error
            failed = 0
        else:
            executors = {
                repr(e.resources): local_executor("local", e.resources, place, _setup(code))
                for e in entries
            }
            work = [
                (executors[repr(e.resources)], task) for e, task in zip(entries, tasks, strict=True)
            ]
            jobs = run_locally(work, limit)
            names = [f"{logs.name}/{job.job_id}" for job in jobs]
            written = folder.jobs()
            written.runs.update(
                {entry.run_id: name for entry, name in zip(entries, names, strict=True)}
            )
            folder.write_jobs(written)
            errors = [job.exception() for job in jobs]
            failed = _report(errors, entries, [folder.log(name) for name in names])
    ReportTask(folder.runs_dir, tuple(folder.run_ids()), folder.path)()
    return int(failed > 0)


def local_executor(
    where: str, use: Resources, logs: Path, setup: list[str]
) -> submitit.AutoExecutor:
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

    Submitit's local executor has no queue and starts all it is given, so the tasks are held back
    here.
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


def _report(errors: list[BaseException | None], entries: list[Entry], logs: list[Path]) -> int:
    """Print how each run ended; how many failed."""
    for error, entry, log in zip(errors, entries, logs, strict=True):
        print(f"failed  {entry.label}  see {log}" if error else f"done    {entry.label}")
    return sum(error is not None for error in errors)
