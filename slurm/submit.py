"""Run a sweep: ``python -m slurm.submit sweep.toml``.

On a SLURM cluster the runs become job arrays, one for each class of resources, and the command
returns at once; a last job builds the report. A run that is preempted or reaches its time limit is
queued again and goes on where it was. Submitting the same sweep once more resumes what was
cancelled and passes over what is done, queued or failed.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.process.console import worker
from slurm import cluster, plan, snapshot
from slurm.folder import SweepFolder
from slurm.resources import SweepError
from slurm.survey import ACTIVE, Standing, summary, survey
from slurm.sweep import Entry, Sweep, read

if TYPE_CHECKING:
    from slurm.snapshot import Snapshot

Cluster = Literal["slurm", "local", "debug"]
_MOST_FAILURES_SHOWN = 20


def submit(
    sweep_file: Path,
    cluster: Cluster = "slurm",
    max_parallel: int | None = None,
    dry_run: bool = False,
    retry_failed: bool = False,
    runs: Path = Path("runs"),
    data_dir: Path | None = None,
) -> int:
    """Run a sweep: every combination of its axes, as SLURM job arrays or on this machine.

    Args: sweep_file: The sweep, a TOML file. cluster: slurm (job arrays; returns at once), local
        (processes on this machine, and waits for them;
            with a GPU all use the first) or debug (inside this process).
        max_parallel: How many runs at a time. Arrays then follow one another. Default: as many as
            the cluster gives, 256 an array; one on this machine.
        dry_run: Show the runs and the sbatch scripts; submit nothing.
        retry_failed: Submit failed runs too. Default: they are listed with the last line of their
            log.
        runs: Receives the run folders and, in sweeps/NAME/, the manifest, the logs and the report.
        data_dir: The folder of the data sets. Default: data, below the current directory.

    Returns:
        0, or 1 if a run on this machine failed.

    Raises: SweepError: the sweep or an option is wrong, SLURM refuses or does not answer, or
        nothing can be written.

    """
    sweep = read(sweep_file)
    if max_parallel is not None and max_parallel < 1:
        raise SweepError(f"--max-parallel must be 1 or more, not {max_parallel}")
    if cluster == "slurm":
        SweepFolder(runs, sweep.name).check_for_sbatch()
    order = _Order(
        sweep, sweep.entries(), SweepFolder(runs, sweep.name), cluster, max_parallel, data_dir
    )
    if dry_run:
        return order.show(retry_failed)
    order.require()
    with order.folder.lock():
        return order.carry_out(retry_failed, sweep_file.read_text(encoding="utf-8"))


class _Order:
    """One call of ``submit``."""

    def __init__(
        self,
        sweep: Sweep,
        entries: list[Entry],
        folder: SweepFolder,
        where: Cluster,
        max_parallel: int | None,
        data_dir: Path | None,
    ):
        self.sweep, self.entries, self.folder = sweep, entries, folder
        self.where, self.max_parallel, self.data_dir = where, max_parallel, data_dir

    def require(self) -> None:
        """Refuse what cannot be done here."""
        if self.where == "slurm":
            cluster.require()
        elif any(entry.resources.nodes > 1 for entry in self.entries):
            raise SweepError("resources.nodes is for a cluster: this machine is one node")
        elif self.where == "debug" and any(
            entry.resources.all_processes > 1 for entry in self.entries
        ):
            raise SweepError(
                "a run of several processes cannot be debugged inside this one: use --cluster local"
            )

    def queue(self) -> list[cluster.Queued] | None:
        """Our jobs in the queue; all of them are known, or a run might be submitted twice."""
        if self.where != "slurm":
            return None
        jobs = self.folder.jobs()
        known = {job.split("_")[0] for job in [*jobs.runs.values(), jobs.report or ""]}
        queue = cluster.queued(self.folder.comment)
        if unknown := sorted({job.array_id for job in queue} - known - set(jobs.past_reports)):
            raise SweepError(
                f"job {unknown[0]} is of this sweep, but a submission that broke off did not write"
                f" it down: wait for it, or scancel {unknown[0]}"
            )
        return queue

    def show(self, retry_failed: bool) -> int:
        """Print what would happen."""
        from slurm.executor import script

        queue, most, reason = self.ask() if self.where == "slurm" else (None, 0, "")
        todo = self.announce(self.survey(queue), retry_failed)
        if self.where != "slurm":
            return 0
        if reason:
            print(f"{reason}: arrays as for one that takes {most} runs in each, which is usual")
        chunks = plan.arrays(todo, most)
        for number, array in enumerate(chunks, 1):
            print(f"array {number} of {len(chunks)}: {len(array.entries)} runs")
            if number == 1 or array.resources != chunks[number - 2].resources:
                code = snapshot.plan(self.folder.path / "code")
                print(script(array, self.sweep.name, self.folder, code, self.max_parallel))
        return 0

    def ask(self) -> tuple[list[cluster.Queued] | None, int, str]:
        """Our jobs in the queue, how many runs an array takes, and why SLURM could not be asked for
        them, if so.
        """
        if not cluster.here():
            return None, cluster.USUAL_MAX_ARRAY, "no SLURM here"
        try:
            return self.queue(), cluster.max_array_size(), ""
        except cluster.NoAnswer as error:
            return None, cluster.USUAL_MAX_ARRAY, f"no answer from SLURM ({error})"

    def survey(self, queue: list[cluster.Queued] | None) -> list[Standing]:
        """How the runs stand; on this machine none is at work while the folder is ours."""
        standings = survey(self.folder, [entry.run_id for entry in self.entries], queue)
        found = []
        for entry, standing in zip(self.entries, standings, strict=True):
            idle = queue is None and standing.state in ACTIVE
            if idle or (standing.state == "done" and not self.is_measured(entry)):
                standing = replace(standing, state="stopped")
            found.append(standing)
        return found

    def is_measured(self, entry: Entry) -> bool:
        """Whether a finished run holds all that the sweep asks for: an evaluation may ask for more
        than it did.
        """
        from bench.arm import is_done
        from bench.record import RunFolder

        try:
            return is_done(RunFolder(self.folder.runs_dir / entry.run_id), entry.config)
        except ValueError as error:
            raise SweepError(str(error)) from None

    def announce(self, standings: list[Standing], retry_failed: bool) -> list[Entry]:
        """Print count, arms, time and failures; the runs that are left to do."""
        todo = plan.left(self.entries, standings, retry_failed)
        print(
            f"{self.sweep.name}: {len(self.entries)} runs into {self.folder.runs_dir}:"
            f" {summary(standings)}"
        )
        print("\n".join(plan.arms(self.entries, standings)))
        print(plan.estimate(todo, self.folder.runs_dir))
        failed = [standing for standing in standings if standing.state == "failed"]
        for standing in failed[:_MOST_FAILURES_SHOWN]:
            print(
                f"failed  {standing.run_id} "
                f" {self.folder.last_line(standing.job_id) or standing.reason}"
            )
        if len(failed) > _MOST_FAILURES_SHOWN:
            print(f"and {len(failed) - _MOST_FAILURES_SHOWN} more failed")
        if failed and not retry_failed:
            print("failed runs are passed over: --retry-failed submits them again")
        return todo

    def carry_out(self, retry_failed: bool, text: str) -> int:
        """Submit what is left, with the folder's lock held."""
        from slurm import executor

        queue = self.queue()
        todo = self.announce(self.survey(queue), retry_failed)
        code = snapshot.take(self.folder.path / "code")
        if code.path is None:
            print(
                "note: the code is no git checkout, so jobs run what is installed when they start"
            )
        self.folder.write_manifest(self.sweep, self.entries, text, code.recorded())
        if not todo:
            print(f"nothing to submit; the report is in {self.folder.path}")
            return 0
        self.folder.forget_attempts([entry.run_id for entry in todo])
        if self.where == "slurm":
            self._submit_arrays(todo, code, queue)
            return 0
        logs = self.folder.path / "logs" / time.strftime("%Y%m%d-%H%M%S")
        return executor.run_here(
            self.where, todo, self.folder, logs, code, self.max_parallel or 1, self.data_dir
        )

    def _submit_arrays(
        self, todo: list[Entry], code: Snapshot, queue: list[cluster.Queued]
    ) -> None:
        from slurm import executor

        before = sorted({job.array_id for job in queue} - {self.folder.jobs().report})
        submitted = executor.submit_arrays(
            plan.arrays(todo, cluster.max_array_size()),
            self.sweep.name,
            self.folder,
            code,
            self.max_parallel,
            self.data_dir,
        )
        report = executor.submit_report(
            self.entries, self.sweep.name, self.folder, code, [*before, *submitted]
        )
        print(
            f"submitted as job {', '.join(submitted)}; job {report} builds"
            f" {self.folder.path}/report.html"
        )
        print(
            f"python -m slurm.status {self.sweep.name} --runs {self.folder.runs_dir} tells how it"
            " goes"
        )


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    import tyro

    layout = (tyro.conf.PositionalRequiredArgs, tyro.conf.FlagCreatePairsOff)
    try:
        return tyro.cli(submit, prog="python -m slurm.submit", args=args, config=layout)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(worker(main))
