"""Questions to SLURM: its limits, the jobs of a sweep in its queue, and cancelling them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from slurm.resources import SweepError

USUAL_MAX_ARRAY = 1001  # SLURM's MaxArraySize unless the cluster sets another
# A busy controller answers within its own timeouts of 10 to 30 s; longer means that it is down.
_TIMEOUT_S = 60
# Jobs per scancel: ten thousand ids would exceed the length of a command line.
_CHUNK = 500
_JOB = re.compile(r"\s*(\d+(?:_\d+)?)\|([A-Z_]+)\|(.*)")  # id, state, comment
# Variables that filter or format the answers, or let scancel ask back.
_OPTIONS_OF_SLURM = ("SQUEUE_", "SCANCEL_", "SACCT_", "SCONTROL_")


class NoAnswer(SweepError):
    """SLURM cannot be asked: it is not installed, not configured, or silent."""


@dataclass(frozen=True)
class Queued:
    """A job in SLURM's queue.

    Attributes:
        job_id: ``4242_3`` in an array, else ``4242``.
        state: in SLURM's words, such as ``PENDING`` or ``RUNNING``.

    """

    job_id: str
    state: str

    @property
    def array_id(self) -> str:
        """The id that all jobs of an array share."""
        return self.job_id.split("_")[0]


def here() -> bool:
    """True if this machine has SLURM's commands."""
    return shutil.which("srun") is not None


def require() -> None:
    """Require SLURM on this machine.

    Raises:
        SweepError: there is none.

    """
    if not here():
        raise SweepError(
            "no SLURM here (srun not found): submit on a login node, or use --cluster local"
        )


def max_array_size() -> int:
    """Ask for the largest number of jobs in an array.

    Raises:
        SweepError: SLURM does not answer.

    """
    line = re.search(r"MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"))
    return int(line[1]) if line else USUAL_MAX_ARRAY


def queued(comment: str) -> list[Queued]:
    """List this user's jobs with a comment, pending or running; each task of an array is one.

    Raises:
        SweepError: SLURM does not answer; a guess might submit a run twice.

    """
    output = _ask("squeue", "--me", "--array", "--noheader", "--format=%i|%T|%k")
    jobs = []
    # Not splitlines, which also splits at signs such as \x0b that a path may hold.
    for line in output.split("\n"):
        # Another job's comment may have several lines; its later ones do not look like a job.
        match = _JOB.fullmatch(line)
        if match is None:
            continue
        job_id, state, its_comment = match.groups()
        # squeue pads and trims the last column.
        if its_comment.rstrip() == comment.rstrip():
            jobs.append(Queued(job_id, state))
    return jobs


def cancel(jobs: list[Queued]) -> None:
    """Cancel jobs; running ones receive SIGTERM first and leave a checkpoint.

    Raises:
        SweepError: SLURM does not answer.

    """
    ids = [job.job_id for job in jobs]
    for first in range(0, len(ids), _CHUNK):
        _ask("scancel", *ids[first : first + _CHUNK])


def _ask(program: str, *args: str) -> str:
    """Run a command of SLURM and return its output.

    Bytes that are not UTF-8 are kept as Python keeps them in paths, so that a comment equals the
    path of its sweep.
    """
    try:
        done = subprocess.run(
            [program, *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_TIMEOUT_S,
            env=_environment(),
        )
    except OSError as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else error.strerror
        raise NoAnswer(
            f"no SLURM here ({program} {reason}): use a login node, or --cluster local"
        ) from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"SLURM does not answer ({program}): try again when it does") from None
    except subprocess.CalledProcessError as error:
        # Several lines as a rule; messages of this project are one.
        reason = " ".join(os.fsdecode(error.stderr).split()) or f"exit code {error.returncode}"
        raise NoAnswer(f"SLURM refuses {program}: {reason}") from None
    return os.fsdecode(done.stdout)


def _environment() -> dict[str, str]:
    """Return the environment without the variables that change SLURM's answers."""
    environment = {}
    for key, value in os.environ.items():
        if not key.startswith(_OPTIONS_OF_SLURM) and key != "SLURM_TIME_FORMAT":
            environment[key] = value
    return environment
