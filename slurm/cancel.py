"""Cancel the jobs of a sweep: ``python -m slurm.cancel sweep.toml``.

Submitting the same sweep again resumes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.process.console import worker
from slurm import _command, cluster
from slurm.folder import SweepFolder
from slurm.status import name_of


def cancel(sweep: str, runs: Path = Path("runs")) -> int:
    """Cancel the jobs of a sweep, and its report; running jobs write a checkpoint first.

    Args:
        sweep: The sweep file, or the sweep's name.
        runs: The folder it was submitted with.

    Returns:
        0.

    Raises:
        SweepError: it was never submitted, or SLURM does not answer.

    """
    folder = SweepFolder(runs, name_of(sweep))
    # Raises if nothing was ever submitted: a misspelt name must not look like a success.
    folder.manifest()
    # A submission under way would add jobs after the list was read.
    with folder.lock():
        try:
            jobs = cluster.queued(folder.comment)
        except cluster.NoAnswer as error:
            if folder.may_be_queued():
                raise
            print(
                f"no SLURM job of {folder.path.name} is known; a sweep of this machine ends with"
                f" Ctrl-C ({error})"
            )
            return 0
        report = [job for job in jobs if job.job_id == folder.jobs().report]
        of_runs = [job for job in jobs if job not in report]
        # First, as it would start as soon as the runs that it waits for are gone.
        cluster.cancel(report)
        cluster.cancel(of_runs)
    print(f"cancelled {len(of_runs)} runs of {folder.path.name}")
    return 0


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    return _command.run(cancel, args)


if __name__ == "__main__":
    sys.exit(worker(main))
