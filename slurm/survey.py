"""How the runs of a sweep stand, from our own files and the queue; SLURM's accounting is not
needed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.record import RunFolder
from slurm import cluster
from slurm.folder import SweepFolder

STATES = ("done", "running", "queued", "failed", "stopped", "pending")
MEANING = {
    "done": "all is measured",
    "running": "a job is at work",
    "queued": "a job waits",
    "failed": "the run raised an error: --retry-failed",
    "stopped": (
        "begun, but no job has it (cancelled, killed, out of memory): submit again, it goes on"
    ),
    "pending": "not begun, no job has it",
}
ACTIVE = ("running", "queued")
_WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING", "SUSPENDED")


@dataclass(frozen=True)
class Standing:
    """How one run stands.

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
    """How each run stands.

    ``queue`` holds the sweep's jobs; None where SLURM cannot be asked, and what jobs said last must
    do.
    """
    jobs = folder.jobs().runs
    held = None if queue is None else {job.job_id: job.state for job in queue}
    return [_standing(folder, run_id, jobs.get(run_id), held) for run_id in run_ids]


def _standing(
    folder: SweepFolder, run_id: str, job_id: str | None, held: dict[str, str] | None
) -> Standing:
    if job_id is not None and held is not None and job_id in held:
        return Standing(run_id, "queued" if held[job_id] in _WAITING else "running", job_id)
    state, failure = _own_state(folder.runs_dir / run_id)
    if state == "done":
        return Standing(run_id, "done", job_id)
    attempt = folder.attempt(run_id)
    if attempt.get("state") == "failed":
        return Standing(run_id, "failed", job_id, attempt["reason"])
    if state == "failed":
        return Standing(run_id, "failed", job_id, failure)
    if held is None and "running" in (state, attempt.get("state")):
        return Standing(run_id, "running", job_id)
    begun = bool(attempt) or state != "pending"
    return Standing(run_id, "stopped" if begun or job_id is not None else "pending", job_id)


def _own_state(path: Path) -> tuple[str, str]:
    """What the run's folder says, and why it failed."""
    try:
        status = RunFolder(path).status()
    except (OSError, ValueError) as error:
        return "failed", str(error)
    return status["state"], status.get("reason", "")


def summary(standings: list[Standing]) -> str:
    """``5 done, 2 running, 1 failed``."""
    counts = Counter(standing.state for standing in standings)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "no runs"
