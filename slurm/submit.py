"""Run a sweep: ``python -m slurm.submit sweep.toml``.

On a SLURM cluster the runs become one job array and the command returns at once. A run that is preempted or
reaches its time limit is queued again and goes on where it was. Submitting the same sweep once more resumes
what was cancelled and passes over what is done.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from slurm.job import RunTask
from slurm.sweep import SIGNAL_DELAY_S, Sweep, SweepError, configs, describe, read

if TYPE_CHECKING:
    import submitit

Cluster = Literal["slurm", "local", "debug"]

# A run resumes after its time limit, so reaching it is no fault; this ends a run that never gets anywhere.
_MAX_TIMEOUTS = 20
_POLL_S = 0.2


def submit(
    sweep_file: Path,
    cluster: Cluster = "slurm",
    max_parallel: int | None = None,
    dry_run: bool = False,
    runs: Path = Path("runs"),
    data_dir: Path | None = None,
) -> int:
    """Run a sweep: every combination of its grid, as one SLURM job array or on this machine.

    Args:
        sweep_file: The sweep, a TOML file.
        cluster: slurm (one job array; returns at once), local (processes on this machine, and waits for them;
            with a GPU all use the first) or debug (inside this process).
        max_parallel: How many runs at a time. Default: 256 under SLURM, one on this machine.
        dry_run: Show the runs and the sbatch script; submit nothing.
        runs: Receives the run folders and, in logs/, the output of the jobs.
        data_dir: The folder of the data sets. Default: data, below the current directory.

    Returns:
        0, or 1 if a run on this machine failed.

    Raises:
        SweepError: the sweep or an option is wrong, or there is no SLURM.
        bench.config.ConfigError: an option of a run is unknown or out of range.

    """
    sweep = read(sweep_file)
    if max_parallel is not None and max_parallel < 1:
        raise SweepError(f"--max-parallel must be 1 or more, not {max_parallel}")
    tasks = make_tasks(sweep, runs, data_dir)
    labels = [describe(sweep, options) for options in sweep.expand()]
    print(f"{sweep.name}: {len(tasks)} runs into {runs}")
    for index, label in enumerate(labels):
        print(f"{index:4d}  {label}")
    # On this machine a job's id is its process id, which a later sweep may meet again.
    logs = runs.resolve() / "logs" / ("%A" if cluster == "slurm" else time.strftime("%Y%m%d-%H%M%S"))
    if dry_run:
        if cluster == "slurm":
            print(sbatch_script(sweep, len(tasks), logs, max_parallel))
        return 0
    executor = make_executor(sweep, cluster, logs, max_parallel)
    if cluster == "slurm":
        print(f"submitted as job {submit_array(executor, tasks)}, logs in {logs.parent}/")
        return 0
    if cluster == "debug":
        for task in tasks:
            if error := executor.submit(task).exception():
                raise error
        return 0
    return _report(run_locally(executor, tasks, max_parallel or 1), labels)


def make_tasks(sweep: Sweep, runs: Path, data_dir: Path | None) -> list[RunTask]:
    """One task per run, with absolute paths."""
    where = data_dir.resolve() if data_dir else None
    device = "cuda" if sweep.resources.gpus else "cpu"
    threads = sweep.resources.cpus
    return [RunTask(config, runs.resolve(), where, device, threads) for config in configs(sweep)]


def sbatch_parameters(sweep: Sweep, max_parallel: int | None) -> dict[str, Any]:
    """What sbatch is asked for, in submitit's names; the time is a number, for submitit computes with it."""
    use = sweep.resources
    parameters = {
        "job_name": sweep.name,
        "time": use.minutes,
        "signal_delay_s": SIGNAL_DELAY_S,
        "cpus_per_task": use.cpus,
        "gpus_per_node": use.gpus or None,
        "mem": f"{use.memory_gb}GB",
        "partition": use.partition,
        "account": use.account,
        "array_parallelism": max_parallel,
        "additional_parameters": use.extra or None,
        # Since SLURM 22.05 srun no longer takes this over from sbatch.
        "srun_args": [f"--cpus-per-task={use.cpus}"],
    }
    return {key: value for key, value in parameters.items() if value is not None}


def sbatch_script(sweep: Sweep, count: int, logs: Path, max_parallel: int | None) -> str:
    """The script that ``sbatch`` would receive, made by submitit as at submission."""
    from submitit.slurm.slurm import _make_sbatch_string

    command = shlex.join([sys.executable, "-u", "-m", "submitit.core._submit", str(logs)])
    array = {"map_count": count} if count > 1 else {}
    return _make_sbatch_string(command, logs, **array, **sbatch_parameters(sweep, max_parallel))


def make_executor(sweep: Sweep, cluster: Cluster, logs: Path, max_parallel: int | None) -> submitit.AutoExecutor:
    """Submitit's executor for this sweep.

    Raises:
        SweepError: there is no SLURM on this machine.

    """
    import submitit

    if cluster == "slurm" and not shutil.which("srun"):
        raise SweepError("no SLURM here (srun not found): submit on a login node, or use --cluster local")
    executor = submitit.AutoExecutor(logs, cluster, slurm_max_num_timeout=_MAX_TIMEOUTS)
    specific = {f"slurm_{key}": value for key, value in sbatch_parameters(sweep, max_parallel).items()}
    # Without gpus_per_node, submitit's local executor hides the GPU.
    generic = {"timeout_min": sweep.resources.minutes, "gpus_per_node": sweep.resources.gpus}
    executor.update_parameters(**(specific if cluster == "slurm" else generic))
    return executor


def submit_array(executor: submitit.AutoExecutor, tasks: list[RunTask]) -> str:
    """Submit the tasks as one array; return SLURM's job id.

    Raises:
        SweepError: sbatch refuses, for instance because there is no such partition.

    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        first, *_ = executor.submit_array(tasks)
    except (FailedJobError, FailedSubmissionError) as error:
        reason = " ".join(str(error).split())
        raise SweepError(f"sbatch refuses, see [resources]: {reason}") from error
    return first.job_id.split("_")[0]


def run_locally(executor: submitit.AutoExecutor, tasks: list[RunTask], limit: int) -> list[submitit.Job]:
    """Run the tasks in processes on this machine, ``limit`` at a time, and wait for them.

    Submitit's local executor has no queue and starts all it is given, so the tasks are held back here.
    """
    jobs: list[submitit.Job] = []
    for task in tasks:
        _wait_until_running(jobs, limit - 1)
        jobs.append(executor.submit(task))
    _wait_until_running(jobs, 0)
    return jobs


def _wait_until_running(jobs: list[submitit.Job], at_most: int) -> None:
    while sum(not job.done() for job in jobs) > at_most:
        time.sleep(_POLL_S)


def _report(jobs: list[submitit.Job], labels: list[str]) -> int:
    failed = 0
    for job, label in zip(jobs, labels, strict=True):
        error = job.exception()
        failed += error is not None
        print(f"failed  {label}  see {job.paths.stderr}" if error else f"done    {label}")
    return int(failed > 0)


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    import tyro

    from bench.config import ConfigError

    layout = (tyro.conf.PositionalRequiredArgs, tyro.conf.FlagCreatePairsOff)
    try:
        return tyro.cli(submit, prog="python -m slurm.submit", args=args, config=layout)
    except (SweepError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
