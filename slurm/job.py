"""One run as a cluster job, and the report as the last."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from bench.record import utc_now, write_json

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

    from bench.config import RunConfig


@dataclass(frozen=True)
class RunTask:
    """What a job of the array calls. Small on purpose: it is pickled, results go to the run's own
    folder.

    Attributes: config: the run. runs_dir: where run folders are made; absolute, for the job may
        start elsewhere. data_dir: the folder of the data sets, or None for the default. device:
        ``cpu`` or ``cuda``. threads: CPU threads. Left to itself torch takes the whole node, which
        it shares with other runs. processes: how many of these jobs are one run. attempts: folder
        for what the job says of itself.

    """

    config: RunConfig
    runs_dir: Path
    data_dir: Path | None
    device: str
    threads: int
    processes: int
    attempts: Path

    def __call__(self) -> None:
        """Do the run, or what is left of it."""
        import torch

        from bench.arm import run_arm
        from bench.config import Execution
        from bench.process.background import end_process

        _listen()
        first = True
        if self.processes > 1:
            first = _meet()
        else:
            _forget_torchrun()
        torch.set_num_threads(self.threads)
        if first:
            self._say("running")
        try:
            run_arm(self.config, self.runs_dir, Execution(device=self.device), self.data_dir)
        except Exception as error:
            if first:
                self._say("failed", reason=str(error) or type(error).__name__)
            raise
        except SystemExit as leaving:
            # A solver that is still at work must not keep the job alive until it is killed
            end_process(leaving.code)
        if first:
            self._say("done")
        if self.processes > 1:
            torch.distributed.destroy_process_group()

    def checkpoint(self) -> DelayedSubmission:
        """Resubmit as it is, on preemption and at the time limit: the run folder knows how far it
        came.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _say(self, state: str, **more: object) -> None:
        """Record the state beside the sweep: the run's own folder may be what fails."""
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", 0))
        said = {
            "state": state,
            "updated": utc_now(),
            "host": socket.gethostname(),
            "restarts": restarts,
            **more,
        }
        try:
            write_json(self.attempts / f"{self.config.run_id}.json", said)
        except OSError as error:
            # The error that the run died of, or its result, is worth more than this note of it.
            print(f"warning: cannot write to {self.attempts}: {error.strerror}", file=sys.stderr)


@dataclass(frozen=True)
class ReportTask:
    """Build the report of a sweep from the runs that finished, into its folder.

    Attributes:
        runs_dir: the run folders, absolute.
        run_ids: those of the sweep.
        out: the sweep's folder.

    """

    runs_dir: Path
    run_ids: tuple[str, ...]
    out: Path

    def __call__(self) -> None:
        """Run ``reports.build`` on a folder of links, so that other runs beside are left out.

        Raises:
            subprocess.CalledProcessError: there is nothing to report on; its output says why.

        """
        links = self.out / "runs"
        links.mkdir(exist_ok=True)
        for run_id in self.run_ids:
            link, target = links / run_id, self.runs_dir / run_id
            if target.exists() and not link.is_symlink():
                link.symlink_to(target)
        for link in links.iterdir():
            if link.name not in self.run_ids:
                link.unlink()
        command = [
            sys.executable,
            "-m",
            "reports.build",
            str(links),
            "--mixed",
            "--out",
            str(self.out),
        ]
        subprocess.run(command, check=True)


def _listen() -> None:
    """Clusters differ in how they announce the end.

    USR2 (ours) or USR1 before a limit: submitit queues the job again. TERM, which precedes KILL:
    leave, for SLURM itself queues again what it preempted, and must not what a user cancelled. In
    training all wait for a checkpoint.
    """
    requeue = signal.getsignal(signal.SIGUSR2)
    if callable(requeue):
        signal.signal(signal.SIGUSR1, requeue)
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _meet() -> bool:
    """Set torchrun's variables from SLURM's; whether this process is the first."""
    from submitit.helpers import TorchDistributedEnvironment

    place = TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    return place.rank == 0


def _forget_torchrun() -> None:
    """Drop the variables of torchrun that a shell may still hold; a run of one process waits for no
    other.
    """
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        os.environ.pop(name, None)
