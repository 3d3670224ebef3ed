"""One run as a cluster job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

    from bench.config import RunConfig


@dataclass(frozen=True)
class RunTask:
    """What a job of the array calls. Small on purpose: it is pickled, results go to the run's own folder.

    Attributes:
        config: the run.
        runs_dir: where run folders are made; absolute, for the job may start elsewhere.
        data_dir: the folder of the data sets, or None for the default.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads. Left to itself torch takes the whole node, which it shares with other runs.

    """

    config: RunConfig
    runs_dir: Path
    data_dir: Path | None
    device: str
    threads: int

    def __call__(self) -> None:
        """Do the run, or what is left of it."""
        import torch

        from bench.arm import run_arm
        from bench.config import Execution

        torch.set_num_threads(self.threads)
        run_arm(self.config, self.runs_dir, Execution(device=self.device), self.data_dir)

    def checkpoint(self) -> DelayedSubmission:
        """Resubmit as it is, on preemption and at the time limit: the run folder knows how far it came."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
