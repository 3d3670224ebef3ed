"""What is asked of SLURM itself: its limits, which of our jobs it holds, and to cancel them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from slurm.resources import SweepError

USUAL_MAX_ARRAY = 1001  # SLURM's MaxArraySize, unless the cluster says otherwise
_PATIENCE_S = 60
_MANY = 500  # jobs a scancel
_JOB = re.compile(r"\s*(\d+(?:_\d+)?)\|([A-Z_]+)\|(.*)")  # id, state, comment


class NoAnswer(SweepError):
    """SLURM cannot be asked: it is not installed, not configured, or silent."""


@dataclass(frozen=True)
class Queued:
    """A job that SLURM holds: ``4242_3`` in an array, else ``4242``; its state is ``PENDING``,
    ``RUNNING`` or so.
    """

    job_id: str
    state: str

    @property
    def array_id(self) -> str:
        """The id that all jobs of an array share."""
        return self.job_id.split("_")[0]


def here() -> bool:
    """Whether this machine has SLURM's commands."""
    return shutil.which("srun") is not None


def require() -> None:
    """Refuse to go on without SLURM.

    Raises:
        SweepError: there is none on this machine.

    """
    if not here():
        raise SweepError(
            "no SLURM here (srun not found): submit on a login node, or use --cluster local"
        )


def max_array_size() -> int:
    """How many jobs an array may hold.

    Raises:
        SweepError: SLURM does not answer.

    """
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"))
    return int(found[1]) if found else USUAL_MAX_ARRAY


def queued(comment: str) -> list[Queued]:
    """The jobs of this user that carry the comment, pending or running, each task of an array by
    itself.

    Raises:
        SweepError: SLURM does not answer; a guess might submit a run twice.

    """
    output = _ask("squeue", "--me", "--array", "--noheader", "--format=%i|%T|%k")
    # A comment of another job may have several lines, which then look like no job; ours is one
    # line.
    found = [match.groups() for line in output.split("\n") if (match := _JOB.fullmatch(line))]
    return [
        Queued(job_id, state) for job_id, state, note in found if note.rstrip() == comment.rstrip()
    ]


def cancel(jobs: list[Queued]) -> None:
    """Cancel jobs; those that run are told first, and leave a checkpoint.

    Raises:
        SweepError: SLURM does not answer.

    """
    names = [job.job_id for job in jobs]
    for first in range(0, len(names), _MANY):
        _ask("scancel", *names[first : first + _MANY])


def _ask(*command: str) -> str:
    """What a command of SLURM prints; text that is not UTF-8 is kept as Python keeps it in paths."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_PATIENCE_S,
            env=_environment(),
        )
    except OSError as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else error.strerror
        raise NoAnswer(
            f"no SLURM here ({command[0]} {reason}): use a login node, or --cluster local"
        ) from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"SLURM does not answer ({command[0]}): try again when it does") from None
    except subprocess.CalledProcessError as error:
        reason = " ".join(os.fsdecode(error.stderr).split()) or f"exit code {error.returncode}"
        raise NoAnswer(f"SLURM refuses {command[0]}: {reason}") from None
    return os.fsdecode(done.stdout)


def _environment() -> dict[str, str]:
    """The environment without the variables that filter or format the answers, or let scancel ask
    back.
    """
    ours = ("SQUEUE_", "SCANCEL_", "SACCT_", "SCONTROL_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    kept.pop("SLURM_TIME_FORMAT", None)
    return kept
