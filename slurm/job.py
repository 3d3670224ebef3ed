"""The tasks of jobs: one run, and the report as the last."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from bench.record import utc_now, write_json

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

    from bench.config import RunConfig


@dataclass(frozen=True)
class RunTask:
    """The task of a job in an array: one run.

    It is pickled at submission, so it holds no data; results go to the run's own folder.

    Attributes:
        config: the run.
        runs_dir: parent of run folders; absolute, as the job may start elsewhere.
        data_dir: the folder of the data sets, or None for the default.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads. By default torch takes all cores of a node, which other runs share.
        processes: how many jobs of this kind are one run.
        attempts: folder for the state of each run's latest job.
        working_folder: the folder of the submission, whose modules a job finds last.
        execution: further settings of ``bench.config.Execution``, by name.

    """

    config: RunConfig
    runs_dir: Path
    data_dir: Path | None
    device: Literal["cpu", "cuda"]
    threads: int
    processes: int
    attempts: Path
    working_folder: Path | None = None
    execution: dict[str, Any] = field(default_factory=dict)

    def __call__(self) -> None:
        """Do the run, or resume it."""
        # Here, as the command that submits the task starts without torch.
        import torch

        from bench.arm import run_arm
        from bench.config import Execution
        from bench.process.background import end_process

        # Last, as in the commands: plug-ins of the user's own are found, and hide none of ours.
        if self.working_folder is not None and str(self.working_folder) not in sys.path:
            sys.path.append(str(self.working_folder))
        _handle_signals()
        is_first = True
        if self.processes > 1:
            is_first = _meet()
        else:
            _forget_torchrun()
        torch.set_num_threads(self.threads)
        # One process writes for all: several would overwrite each other's states.
        if is_first:
            self._write_state("running")
        execution = Execution(device=self.device, **self.execution)
        try:
            run_arm(self.config, self.runs_dir, execution, self.data_dir)
        except Exception as error:
            if is_first:
                self._write_state("failed", reason=str(error) or type(error).__name__)
            raise
        except SystemExit as leaving:
            # A solver in a thread would keep the job alive until SLURM kills it.
            end_process(leaving.code)
        if is_first:
            self._write_state("done")
        if self.processes > 1:
            torch.distributed.destroy_process_group()

    def checkpoint(self) -> DelayedSubmission:
        """Resubmit the same task on preemption and at the time limit.

        Nothing needs to change in it: the run resumes from the checkpoint in its folder.
        """
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _write_state(self, state: str, **more: object) -> None:
        """Write the state to the sweep's folder, as the run's own may be what fails."""
        content = {
            "state": state,
            "updated": utc_now(),
            "host": socket.gethostname(),
            "restarts": int(os.environ.get("SLURM_RESTART_COUNT", 0)),
            **more,
        }
        try:
            write_json(self.attempts / f"{self.config.run_id}.json", content)
        except OSError as error:
            # Not raised: it would hide the error that ended the run, or lose a finished run.
            print(f"warning: cannot write to {self.attempts}: {error.strerror}", file=sys.stderr)


@dataclass(frozen=True)
class ReportTask:
    """The task of the last job: the report of the sweep's finished runs.

    Attributes:
        runs_dir: the run folders, absolute.
        run_ids: those of the sweep.
        out: the sweep's folder, which receives the report.

    """

    runs_dir: Path
    run_ids: tuple[str, ...]
    out: Path

    def __call__(self) -> None:
        """Run ``reports.build`` on a folder of links, so that it sees the sweep's runs only.

        Raises:
            subprocess.CalledProcessError: there is nothing to report on; its output says why.

        """
        links = self.out / "runs"
        links.mkdir(exist_ok=True)
        for run_id in self.run_ids:
            link = links / run_id
            target = self.runs_dir / run_id
            if target.exists() and not link.is_symlink():
                link.symlink_to(target)
        # Left from a submission of an earlier version of the sweep file.
        for link in links.iterdir():
            if link.name not in self.run_ids:
                link.unlink()
        # By the name that no folder of a user's has: a reports.py beside it would be run instead.
        command = [sys.executable, "-m", "ot_couplings", "report", str(links), "--mixed"]
        # A process of its own: pandas and matplotlib would stay in memory with --cluster debug.
        subprocess.run([*command, "--out", str(self.out)], check=True)


def _handle_signals() -> None:
    """Set the handlers of the signals by which clusters announce the end of a job.

    - USR2 (ours) or USR1 (of some clusters) before a limit: submitit queues the job again.
    - TERM, which precedes KILL: exit without queueing. SLURM itself queues again what it preempted,
      and a job that a user cancelled must not come back.

    While a run trains, its own handlers wait for a checkpoint first.
    """
    requeue = signal.getsignal(signal.SIGUSR2)
    if callable(requeue):
        signal.signal(signal.SIGUSR1, requeue)
    signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _meet() -> bool:
    """Set torchrun's variables from SLURM's; True for the first process."""
    from submitit.helpers import TorchDistributedEnvironment

    # SLURM itself shows each process its GPUs; a second choice would hide all but one of them.
    place = TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    return place.rank == 0


def _forget_torchrun() -> None:
    """Remove torchrun's variables, which an interactive shell may still hold.

    With them, a run of one process would wait for others that do not exist.
    """
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        os.environ.pop(name, None)
