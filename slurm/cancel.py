"""Cancel what is left of a sweep: ``python -m slurm.cancel sweep.toml``; submitting it again goes
on.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.process.console import worker
from slurm import cluster
from slurm.folder import SweepFolder
from slurm.resources import SweepError
from slurm.status import name_of


def cancel(sweep: str, runs: Path = Path("runs")) -> int:
    """Cancel the jobs of a sweep, and its report; those at work leave a checkpoint first.

    Args:
        sweep: The sweep file, or the sweep's name.
        runs: The folder it was submitted with.

    Returns:
        0.

    Raises:
        SweepError: it was never submitted, or SLURM does not answer.

    """
    folder = SweepFolder(runs, name_of(sweep))
    folder.manifest()
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
        # The report would start as soon as what it waits for is gone.
        report = [job for job in jobs if job.job_id == folder.jobs().report]
        cluster.cancel(report)
        cluster.cancel([job for job in jobs if job not in report])
    print(f"cancelled {len(jobs) - len(report)} runs of {folder.path.name}")
    return 0


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    import tyro

    try:
        return tyro.cli(
            cancel,
            prog="python -m slurm.cancel",
            args=args,
            config=(tyro.conf.PositionalRequiredArgs,),
        )
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(worker(main))
