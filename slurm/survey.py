"""States of the runs of a sweep, from our own files and the queue.

SLURM's accounting is not needed: many clusters have none.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.record import RunFolder
from slurm import cluster
from slurm.folder import SweepFolder

# In the order in which the status shows them.
MEANING = {
    "done": "all is measured",
    "running": "a job is at work",
    "queued": "a job waits",
    "failed": "the run raised an error: --retry-failed",
    "stopped": (
        "begun, but no job has it (cancelled, killed, out of memory): submit again to resume it"
    ),
    "pending": "not begun, no job has it",
}
STATES = tuple(MEANING)
ACTIVE = ("running", "queued")
# SLURM's states of a job that is not at work; all its other states in a queue mean that it is.
_WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING", "SUSPENDED")


@dataclass(frozen=True)
class Standing:
    """The state of one run.

    Attributes:
        run_id: the run.
        state: one of STATES.
        job_id: its latest job, if any.
        reason: of a failure; empty otherwise.

    """

    run_id: str
    state: str
    job_id: str | None = None
    reason: str = ""


def survey(
    folder: SweepFolder, run_ids: list[str], queue: list[cluster.Queued] | None
) -> list[Standing]:
    """Find the state of each run.

    Args:
        folder: the sweep's.
        run_ids: its runs.
        queue: the sweep's jobs in SLURM's queue. None if SLURM cannot be asked; the states are then
            those that jobs wrote last.

    """
    job_ids = folder.jobs().runs
    states = None if queue is None else {job.job_id: job.state for job in queue}
    return [_standing(folder, run_id, job_ids.get(run_id), states) for run_id in run_ids]


def _standing(
    folder: SweepFolder, run_id: str, job_id: str | None, states: dict[str, str] | None
) -> Standing:
    # The queue is asked first: a requeued job's own files still show its earlier end.
    if states is not None and job_id in states:
        state = "queued" if states[job_id] in _WAITING else "running"
        return Standing(run_id, state, job_id)
    state, failure = _recorded_state(folder.runs_dir / run_id)
    if state == "done":
        return Standing(run_id, "done", job_id)
    # The job's file before the run's: a run that cannot write has said nothing of its failure.
    attempt = folder.attempt(run_id)
    if attempt.get("state") == "failed":
        return Standing(run_id, "failed", job_id, attempt["reason"])
    if state == "failed":
        return Standing(run_id, "failed", job_id, failure)
    if states is None and "running" in (state, attempt.get("state")):
        return Standing(run_id, "running", job_id)
    # A run that had a job and has none now was stopped, even before it wrote anything.
    begun = bool(attempt) or state != "pending" or job_id is not None
    return Standing(run_id, "stopped" if begun else "pending", job_id)


def _recorded_state(path: Path) -> tuple[str, str]:
    """Read the state of a run's folder, and the reason if it failed."""
    try:
        status = RunFolder(path).status()
    except (OSError, ValueError) as error:
        return "failed", str(error)
    return status["state"], status.get("reason", "")


def summary(standings: list[Standing]) -> str:
    """Count the states: ``5 done, 2 running, 1 failed``."""
    counts = Counter(standing.state for standing in standings)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "no runs"
