"""Submission of job arrays through submitit."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.record import COMMAND, command_line
from slurm.entry import Entry
from slurm.folder import SweepFolder
from slurm.job import ReportTask, RunTask
from slurm.plan import Array
from slurm.resources import Resources, SweepError, sbatch_parameters
from slurm.snapshot import Snapshot

# A run resumes after its time limit, so reaching it is no fault. This many times without an end
# are: the run does not get past its first checkpoint.
MAX_TIMEOUTS = 20
_REPORT_MINUTES = 30
# Options that the user's environment may give to sbatch, and the variables that say where SLURM is.
_FROM_ENVIRONMENT = ("account", "partition", "qos", "reservation", "constraint", "export")
_CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS")


def tasks_of(
    entries: tuple[Entry, ...], folder: SweepFolder, data_dir: Path | None
) -> list[RunTask]:
    """Build one task per run, with absolute paths."""
    tasks = []
    for entry in entries:
        task = RunTask(
            config=entry.config,
            runs_dir=folder.runs_dir,
            data_dir=data_dir.resolve() if data_dir else None,
            device="cuda" if entry.resources.gpus else "cpu",
            threads=entry.resources.cpus,
            processes=entry.resources.all_processes,
            attempts=folder.path / "attempts",
            working_folder=Path.cwd(),
            execution=entry.resources.execution,
        )
        tasks.append(task)
    return tasks


def setup_lines(code: Snapshot) -> list[str]:
    """Return the shell lines before a job: the code to import, and the command to record.

    The command is the one that a person typed. Without it a run's provenance would name
    submitit's own.
    """
    return [*code.setup(), f"export {COMMAND}={shlex.quote(command_line())}"]


def script(
    array: Array, name: str, folder: SweepFolder, code: Snapshot, max_parallel: int | None
) -> str:
    """Return the script that ``sbatch`` would receive, made by submitit as at submission."""
    # Private, but the only way to the text without submitting it; a golden test guards it.
    from submitit.slurm.slurm import _make_sbatch_string

    logs = folder.path / "logs" / "%A"
    command = f"{shlex.quote(sys.executable)} -u -m submitit.core._submit {shlex.quote(str(logs))}"
    request = sbatch_parameters(
        array.resources, name, folder.comment, setup_lines(code), array_parallelism=max_parallel
    )
    # Submitit makes an array only of several tasks.
    if len(array.entries) > 1:
        request["map_count"] = len(array.entries)
    return _make_sbatch_string(command, logs, **request)


def submit_arrays(
    arrays: list[Array],
    name: str,
    folder: SweepFolder,
    code: Snapshot,
    max_parallel: int | None,
    data_dir: Path | None,
) -> list[str]:
    """Submit arrays; the jobs of each are written to the folder before the next is submitted.

    Returns:
        The ids of the arrays.

    Raises:
        SweepError: sbatch refuses, for instance because there is no such partition.

    """
    jobs = folder.jobs()
    array_ids: list[str] = []
    for array in arrays:
        # SLURM's limit on parallel jobs holds within one array only, so arrays wait for each other.
        after = f"afterany:{array_ids[-1]}" if max_parallel and array_ids else None
        request = sbatch_parameters(
            array.resources,
            name,
            folder.comment,
            setup_lines(code),
            array_parallelism=max_parallel,
            dependency=after,
        )
        job_ids = _sbatch(folder, request, tasks_of(array.entries, folder, data_dir))
        array_ids.append(job_ids[0].split("_")[0])
        for entry, job_id in zip(array.entries, job_ids, strict=True):
            jobs.runs[entry.run_id] = job_id
        folder.write_jobs(jobs)
    return array_ids


def submit_report(
    entries: list[Entry], name: str, folder: SweepFolder, code: Snapshot, after: list[str]
) -> str:
    """Submit the job that builds the report once all others have ended, well or not.

    Returns:
        Its id.

    """
    first = entries[0].resources
    # The report goes where the runs go, but needs neither their GPUs nor their memory.
    use = Resources(
        minutes=_REPORT_MINUTES,
        cpus=1,
        memory_gb=4,
        partition=first.partition,
        account=first.account,
        extra={key: value for key, value in first.extra.items() if key == "qos"},
    )
    request = sbatch_parameters(
        use,
        f"{name}-report",
        folder.comment,
        setup_lines(code),
        dependency=f"afterany:{':'.join(after)}",
    )
    task = ReportTask(folder.runs_dir, tuple(entry.run_id for entry in entries), folder.path)
    (job_id,) = _sbatch(folder, request, [task])
    jobs = folder.jobs()
    # An earlier report may still wait in the queue; it is ours, not a job that nobody wrote down.
    if jobs.report:
        jobs.past_reports.append(jobs.report)
    jobs.report = job_id
    folder.write_jobs(jobs)
    return job_id


def _sbatch(
    folder: SweepFolder, request: dict[str, Any], tasks: Sequence[Callable[[], None]]
) -> list[str]:
    """Submit tasks as one array and return their ids."""
    # Takes half a second to import, which commands that submit nothing need not wait for.
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = submitit.AutoExecutor(
        folder.path / "logs" / "%A", "slurm", slurm_max_num_timeout=MAX_TIMEOUTS
    )
    executor.update_parameters(**{f"slurm_{key}": value for key, value in request.items()})
    try:
        with _environment_of_sbatch(request):
            return [job.job_id for job in executor.submit_array(tasks)]
    except (FailedJobError, FailedSubmissionError) as error:
        reason = " ".join(str(error).split())
        raise SweepError(f"sbatch refuses, see [resources]: {reason}") from error
    except OSError as error:
        raise SweepError(
            f"cannot write to {folder.path} ({error.strerror}): make room, or choose other --runs"
        ) from error


@contextmanager
def _environment_of_sbatch(request: dict[str, Any]) -> Iterator[None]:
    """Set the environment of sbatch, whose variables take precedence over the script.

    Of the user's SBATCH_ variables those stay that say where and on whose account to run, unless
    the sweep sets them itself. Others would change options that the jobs rely on, such as their
    time limit and their comment. A submission from inside a job would inherit that job's size from
    SLURM_ variables; only those that locate the cluster stay.
    """
    from submitit.helpers import clean_env

    before = dict(os.environ)
    given = {key.replace("-", "_") for key in (*request, *request["additional_parameters"])}
    kept = [f"SBATCH_{key.upper()}" for key in _FROM_ENVIRONMENT if key not in given]
    if "SLURM_JOB_ID" in before:
        kept += _CLUSTER
    else:
        kept += [key for key in before if key.startswith("SLURM_")]
    # clean_env removes all variables of SLURM and puts them back at its end.
    with clean_env():
        os.environ.update({key: before[key] for key in kept if key in before})
        try:
            yield
        finally:
            for key in kept:
                os.environ.pop(key, None)
