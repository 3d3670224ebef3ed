"""What is asked of SLURM itself: its limits, which of our jobs it holds, and to cancel them."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from slurm.resources import SweepError

USUAL_MAX_ARRAY = 1001  # SLURM's MaxArraySize, unless the cluster says otherwise
_PATIENCE_S = 60
_MANY = 500  # jobs a scancel


@dataclass(frozen=True)
class Queued:
    """A job that SLURM holds: ``4242_3`` in an array, else ``4242``; its state is ``PENDING``, ``RUNNING`` or so."""

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
        raise SweepError("no SLURM here (srun not found): submit on a login node, or use --cluster local")


def max_array_size() -> int:
    """How many jobs an array may hold.

    Raises:
        SweepError: SLURM does not answer.

    """
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"))
    return int(found[1]) if found else USUAL_MAX_ARRAY


def queued(comment: str) -> list[Queued]:
    """The jobs of this user that carry the comment, pending or running, each task of an array by itself.

    Raises:
        SweepError: SLURM does not answer; a guess might submit a run twice.

    """
    lines = _ask("squeue", "--me", "--array", "--noheader", "--format=%i|%T|%k").splitlines()
    parts = [line.strip().split("|", 2) for line in lines]
    return [Queued(job_id, state) for job_id, state, note in parts if note == comment]


def cancel(jobs: list[Queued]) -> None:
    """Cancel jobs; those that run are told first, and leave a checkpoint.

    Raises:
        SweepError: SLURM does not answer.

    """
    names = [job.job_id for job in jobs]
    for first in range(0, len(names), _MANY):
        _ask("scancel", *names[first : first + _MANY])


def _ask(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE_S).stdout
    except FileNotFoundError:
        raise SweepError(f"no SLURM here ({command[0]} not found): use a login node, or --cluster local") from None
    except subprocess.TimeoutExpired:
        raise SweepError(f"SLURM does not answer ({command[0]}): try again when it does") from None
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split()) or f"exit code {error.returncode}"
        raise SweepError(f"SLURM refuses {command[0]}: {reason}") from None
