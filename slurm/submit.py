"""Run a sweep: ``python -m slurm.submit sweep.toml``.

On a SLURM cluster the runs become job arrays, one for each class of resources, and the command
returns at once; a last job builds the report. A run that is preempted or reaches its time limit is
queued again and resumes. Submitting the same sweep once more resumes what was cancelled and skips
what is done, queued or failed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bench.process.console import worker
from bench.record import RunFolder, spelled
from slurm import _command, cluster, plan, snapshot
from slurm.entry import Entry
from slurm.folder import SweepFolder
from slurm.held import held, take, wanted
from slurm.resources import SweepError
from slurm.snapshot import Snapshot
from slurm.survey import ACTIVE, Standing, summary, survey
from slurm.sweep import Sweep, read

Cluster = Literal["slurm", "local", "debug"]
Queue = list[cluster.Queued] | None  # None if SLURM is not asked

_MOST_FAILURES_LISTED = 20


def submit(
    sweep_file: Path,
    cluster: Cluster = "slurm",
    max_parallel: int | None = None,
    dry_run: bool = False,
    retry_failed: bool = False,
    runs: Path = Path("runs"),
    data_dir: Path | None = None,
    have: tuple[Path, ...] = (),
) -> int:
    """Run a sweep: every combination of its axes, as SLURM job arrays or on this machine.

    Args:
        sweep_file: The sweep, a TOML file.
        cluster: slurm (job arrays; returns at once), local (processes on this machine, and waits
            for them; with a GPU all use the first) or debug (inside this process).
        max_parallel: How many runs at a time. Arrays then follow one another. Default: as many as
            the cluster gives, 256 an array; one on this machine.
        dry_run: Show the runs and the sbatch scripts; submit nothing.
        retry_failed: Submit failed runs too. Default: they are listed with the last line of their
            log.
        runs: Receives the run folders and, in sweeps/NAME/, the manifest, the logs and the report.
        data_dir: The folder of the data sets. Default: data, below the current directory.
        have: Bundles (python -m reports.bundle) or folders of runs from other machines. What they
            hold finished is copied to --runs, without checkpoints, and not trained again.

    Returns:
        0, or 1 if a run on this machine failed.

    Raises:
        SweepError: the sweep or an option is wrong, SLURM refuses or does not answer, or nothing
            can be written.

    """
    sweep = read(sweep_file)
    if max_parallel is not None and max_parallel < 1:
        raise SweepError(f"--max-parallel must be 1 or more, not {max_parallel}")
    folder = SweepFolder(runs, sweep.name)
    # Before the runs are checked, which takes seconds in a large sweep.
    if cluster == "slurm":
        folder.check_for_sbatch()
    order = _Order(sweep, sweep.entries(), folder, cluster, max_parallel, data_dir, have)
    if dry_run:
        return order.show(retry_failed)
    order.require()
    with folder.lock():
        return order.carry_out(retry_failed, sweep_file.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class _Order:
    """One call of ``submit``."""

    sweep: Sweep
    entries: list[Entry]
    folder: SweepFolder
    where: Cluster
    max_parallel: int | None
    data_dir: Path | None
    have: tuple[Path, ...] = ()

    def require(self) -> None:
        """Refuse a sweep that cannot run here."""
        if self.where == "slurm":
            cluster.require()
        elif any(entry.resources.nodes > 1 for entry in self.entries):
            raise SweepError("resources.nodes is for a cluster: this machine is one node")
        elif self.where == "debug" and any(e.resources.all_processes > 1 for e in self.entries):
            raise SweepError(
                "a run of several processes cannot be debugged inside this one: use --cluster local"
            )

    def show(self, retry_failed: bool) -> int:
        """Print the plan and, for SLURM, the scripts."""
        with held(self.have, self.entries) as found:
            elsewhere = wanted(found, self.folder.runs_dir)
        self._say_taken(len(elsewhere), "would be taken")
        if self.where != "slurm":
            self._announce(self._survey(None, elsewhere), retry_failed)
            return 0
        queue, most, reason = self._ask_if_possible()
        todo = self._announce(self._survey(queue, elsewhere), retry_failed)
        if reason:
            print(f"{reason}: assuming at most {most} tasks per array")
        code = snapshot.plan(self.folder.path / "code")
        arrays = plan.arrays(todo, most)
        for number, array in enumerate(arrays, 1):
            print(f"array {number} of {len(arrays)}: {len(array.entries)} runs")
            # Arrays of one class follow each other and have the same script.
            if number == 1 or array.resources != arrays[number - 2].resources:
                self._print_script(array, code)
        return 0

    def _print_script(self, array: plan.Array, code: Snapshot) -> None:
        from slurm.executor import script

        print(script(array, self.sweep.name, self.folder, code, self.max_parallel))

    def _ask_if_possible(self) -> tuple[Queue, int, str]:
        """Ask SLURM for our jobs and its array size; the text is the reason if it cannot be asked.

        A dry run shows its plan on a laptop too.
        """
        if not cluster.here():
            return None, cluster.USUAL_MAX_ARRAY, "no SLURM here"
        try:
            return self._queue(), cluster.max_array_size(), ""
        except cluster.NoAnswer as error:
            return None, cluster.USUAL_MAX_ARRAY, f"no answer from SLURM ({error})"

    def _queue(self) -> list[cluster.Queued]:
        """Ask for our jobs in SLURM's queue.

        Raises:
            SweepError: one of them is not in the folder. Which run it does is unknown, so a run
                might be submitted twice.

        """
        jobs = self.folder.jobs()
        known = {job.split("_")[0] for job in [*jobs.runs.values(), jobs.report or ""]}
        queue = cluster.queued(self.folder.comment)
        unknown = {job.array_id for job in queue} - known - set(jobs.past_reports)
        if unknown:
            job_id = min(unknown)
            raise SweepError(
                f"job {job_id} belongs to this sweep, but an interrupted submission did not record"
                f" it: wait for it, or scancel {job_id}"
            )
        return queue

    def _survey(self, queue: Queue, elsewhere: Collection[str] = ()) -> list[Standing]:
        """Find the states of the runs, as far as a submission is concerned.

        Args:
            queue: our jobs in SLURM's queue.
            elsewhere: runs that other studies hold finished.

        """
        standings = survey(self.folder, [entry.run_id for entry in self.entries], queue)
        checked = []
        for entry, standing in zip(self.entries, standings, strict=True):
            # Without SLURM nothing runs while this process holds the folder's lock: such a run
            # was killed.
            killed = queue is None and standing.state in ACTIVE
            if entry.run_id in elsewhere:
                standing = replace(standing, state="done")
            elif killed or (standing.state == "done" and not self._is_measured(entry)):
                standing = replace(standing, state="stopped")
            checked.append(standing)
        return checked

    def _is_measured(self, entry: Entry) -> bool:
        """True if a finished run holds all rows that the sweep asks for.

        The sweep's evaluation may ask for more than the one that the run was finished with.
        """
        from bench.arm import is_done

        try:
            return is_done(RunFolder(self.folder.runs_dir / entry.run_id), entry.config)
        except ValueError as error:
            raise SweepError(str(error)) from None

    def _announce(self, standings: list[Standing], retry_failed: bool) -> list[Entry]:
        """Print count, variants, time and failures; return the runs that are left to do."""
        todo = plan.left(self.entries, standings, retry_failed)
        print(
            f"{self.sweep.name}: {len(self.entries)} runs into {self.folder.runs_dir}:"
            f" {summary(standings)}"
        )
        print("\n".join(plan.variants(self.entries, standings)))
        print(plan.estimate(todo, self.folder.runs_dir))
        failed = [standing for standing in standings if standing.state == "failed"]
        for standing in failed[:_MOST_FAILURES_LISTED]:
            reason = self.folder.last_line(standing.job_id) or standing.reason
            print(f"failed  {standing.run_id}  {reason}")
        if len(failed) > _MOST_FAILURES_LISTED:
            print(f"and {len(failed) - _MOST_FAILURES_LISTED} more failed")
        if failed and not retry_failed:
            print("failed runs are skipped: --retry-failed submits them again")
        return todo

    def carry_out(self, retry_failed: bool, text: str) -> int:
        """Submit the runs that are left; the caller holds the folder's lock."""
        queue = self._queue() if self.where == "slurm" else None
        # Before the states are asked: what is taken is done.
        taken = self._take()
        todo = self._announce(self._survey(queue), retry_failed)
        code = snapshot.take(self.folder.path / "code")
        if code.path is None:
            print(
                "note: the code is no git checkout, so jobs run what is installed when they start"
            )
        # Before anything is submitted: without it nobody could find the jobs.
        self.folder.write_manifest(self.sweep, self.entries, text, code.recorded())
        if not todo:
            if taken:
                self._build_report()
            print(f"nothing to submit; the report is in {self.folder.path}")
            return 0
        # Otherwise a run that failed before would still count as failed while it waits.
        self.folder.forget_attempts([entry.run_id for entry in todo])
        if queue is not None:
            self._submit_arrays(todo, code, queue)
            return 0
        return self._run_here(todo, code)

    def _take(self) -> int:
        """Copy the runs that other studies hold; return their number."""
        with held(self.have, self.entries) as found:
            taken = take(found, self.folder.runs_dir)
        self._say_taken(len(taken), "are taken")
        return len(taken)

    def _say_taken(self, count: int, verb: str) -> None:
        if self.have:
            studies = " ".join(map(str, self.have))
            print(
                f"{count} runs {verb} from {studies}; those that have a folder in"
                f" {self.folder.runs_dir} stay as they are"
            )

    def _build_report(self) -> None:
        """Build the report now: no job will."""
        from slurm.job import ReportTask

        run_ids = tuple(entry.run_id for entry in self.entries)
        try:
            ReportTask(self.folder.runs_dir, run_ids, self.folder.path)()
        except subprocess.CalledProcessError:
            raise SweepError(
                "the runs are kept, but the report cannot be built: see the lines above"
            ) from None

    def _run_here(self, todo: list[Entry], code: Snapshot) -> int:
        from slurm.local import run_here

        logs = self.folder.path / "logs" / time.strftime("%Y%m%d-%H%M%S")
        # One at a time unless asked: several would share the cores and the first GPU.
        limit = self.max_parallel or 1
        return run_here(self.where, todo, self.folder, logs, code, limit, self.data_dir)

    def _submit_arrays(
        self, todo: list[Entry], code: Snapshot, queue: list[cluster.Queued]
    ) -> None:
        from slurm import executor

        # The report waits for jobs of earlier submissions too, but not for its predecessor.
        earlier = {job.array_id for job in queue} - {self.folder.jobs().report}
        submitted = executor.submit_arrays(
            plan.arrays(todo, cluster.max_array_size()),
            self.sweep.name,
            self.folder,
            code,
            self.max_parallel,
            self.data_dir,
        )
        report = executor.submit_report(
            self.entries, self.sweep.name, self.folder, code, [*sorted(earlier), *submitted]
        )
        print(
            f"submitted as job {', '.join(submitted)}; job {report} builds"
            f" {self.folder.path}/report.html"
        )
        state = f"python -m slurm.status {self.sweep.name} --runs {self.folder.runs_dir}"
        print(spelled(f"state: {state}"))


def main(args: list[str] | None = None) -> int:
    """Command line: bad input is one line and exit code 2."""
    return _command.run(submit, args)


if __name__ == "__main__":
    sys.exit(worker(main))
