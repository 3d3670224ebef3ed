"""The folder of a sweep, ``RUNS/sweeps/NAME/``: its runs, their jobs, and the state of each.

::

    manifest.json       the runs, their resources, the code and the sweep file; written before
                        anything is submitted
    jobs.json           the job of each run, and that of the report; written after every array
    attempts/RUN.json   state of the run's latest job: running, done or failed, and the reason
    logs/JOB/           the output of the jobs
    code/               copies of the code
    report.html, results.csv
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.record import utc_now, write_json
from slurm.entry import Entry
from slurm.resources import SweepError
from slurm.sweep import Sweep

_TAIL_BYTES = 8192
# SLURM, submitit and torchrun's launcher write these after the error itself.
_NOT_THE_REASON = ("srun:", "slurmstepd:", "submitit ", "[rank")
_BAD_SIGNS = {
    "%": "sbatch puts job numbers in place of %",
    "\n": "a job script ends lines there",
}


@dataclass
class Jobs:
    """The job of each run.

    Attributes:
        runs: by run id, the job's id as in submitit, ``4242_3`` in an array. On this machine it is
            ``FOLDER/PROCESS``, with the folder of its logs.
        report: the job that builds the report.
        past_reports: report jobs of earlier submissions, which may still be queued.

    """

    runs: dict[str, str] = field(default_factory=dict)
    report: str | None = None
    past_reports: list[str] = field(default_factory=list)


class SweepFolder:
    """The files of one sweep."""

    def __init__(self, runs_dir: Path, name: str):
        # Absolute: jobs start in other folders, and the path is the comment of the jobs.
        self.runs_dir = runs_dir.resolve()
        self.path = self.runs_dir / "sweeps" / name

    @property
    def comment(self) -> str:
        """The comment that marks the sweep's jobs in SLURM's queue."""
        return str(self.path)

    def check_for_sbatch(self) -> None:
        """Refuse a path that a job script cannot hold.

        Raises:
            SweepError: sbatch would replace a part of it by a job's number, or end its line there.

        """
        for sign, reason in _BAD_SIGNS.items():
            if sign in str(self.path):
                raise SweepError(
                    f"{self.runs_dir}: {reason}: choose --runs without {sign!r}, or --cluster local"
                )

    def manifest(self) -> dict[str, Any]:
        """Read the latest submission.

        Raises:
            SweepError: nothing was ever submitted, or the file is damaged.

        """
        return self._read("manifest.json")

    def run_ids(self) -> list[str]:
        """List the runs of the sweep, in its order."""
        return [run["run_id"] for run in self.manifest()["runs"]]

    def write_manifest(
        self, sweep: Sweep, entries: list[Entry], text: str, code: dict[str, object]
    ) -> None:
        """Write the manifest.

        Args:
            sweep: the sweep.
            entries: its runs.
            text: content of the sweep file.
            code: ``Snapshot.recorded()`` of the code that the jobs run.

        """
        # Thousands of runs share a few classes of resources: each class is written once. Their
        # repr is the key because resources hold a dict, which cannot be hashed.
        classes: dict[str, dict[str, Any]] = {}
        runs = []
        for entry in entries:
            classes.setdefault(repr(entry.resources), asdict(entry.resources))
            number = list(classes).index(repr(entry.resources))
            runs.append({"run_id": entry.run_id, "label": entry.label, "resources": number})
        content = {
            "name": sweep.name,
            "submitted": utc_now(),
            "code": code,
            "sweep": text,
            "resources": list(classes.values()),
            "runs": runs,
        }
        self._write("manifest.json", content)

    def jobs(self) -> Jobs:
        """Read the jobs that were submitted so far."""
        if not (self.path / "jobs.json").exists():
            return Jobs()
        return Jobs(**self._read("jobs.json"))

    def write_jobs(self, jobs: Jobs) -> None:
        """Write the jobs."""
        self._write("jobs.json", asdict(jobs))

    def attempt(self, run_id: str) -> dict[str, Any]:
        """Read the state that the run's latest job left; empty if none has begun."""
        path = self.path / "attempts" / f"{run_id}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            # One damaged file must not hide the state of all other runs.
            return {"state": "failed", "reason": f"attempts/{run_id}.json is damaged: remove it"}

    def on_cluster(self) -> bool:
        """True if the sweep was last submitted to SLURM; jobs of this machine have a slash."""
        jobs = self.jobs()
        return jobs.report is not None and not any("/" in job for job in jobs.runs.values())

    def may_be_queued(self) -> bool:
        """True if SLURM may hold jobs of the sweep: some were submitted to it."""
        jobs = self.jobs()
        return jobs.report is not None or any("/" not in job for job in jobs.runs.values())

    def forget_attempts(self, run_ids: list[str]) -> None:
        """Remove the states that earlier jobs of these runs left, before they are tried again."""
        (self.path / "attempts").mkdir(exist_ok=True)
        for run_id in run_ids:
            (self.path / "attempts" / f"{run_id}.json").unlink(missing_ok=True)

    def log(self, job_id: str) -> Path:
        """Return the file of a job's standard error."""
        # Jobs of this machine are process ids, which a later submission may get again. So each
        # submission has a folder for its logs.
        folder, _, name = job_id.rpartition("/")
        array_id = name.split("_")[0]
        return self.path / "logs" / (folder or array_id) / f"{name}_0_log.err"

    def last_line(self, job_id: str | None) -> str:
        """Return the last line of a job's log that gives a reason; empty if there is none."""
        path = self.log(job_id) if job_id else None
        if path is None or not path.exists():
            return ""
        with path.open("rb") as file:
            # Logs grow to megabytes, and the status of a sweep reads one for each stopped run.
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            tail = file.read().decode(errors="replace")
        # Progress bars return to the start of their line instead of ending it.
        for line in reversed(tail.replace("\r", "\n").splitlines()):
            if line.strip() and not line.startswith(_NOT_THE_REASON):
                return line.strip()
        return ""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make a second submission wait until this one has ended.

        The lock ends with the process, even a killed one.

        Raises:
            SweepError: the folder cannot be written.

        """
        # Takes a moment to import; showing the status of a sweep locks nothing.
        from filelock import FileLock

        lock = FileLock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise SweepError(
                f"cannot write {self.path} ({error.strerror}): choose another folder with --runs"
            ) from None
        # Outside the `try` above: an OSError of what is done under the lock is another error.
        try:
            yield
        finally:
            lock.release()

    def _write(self, name: str, content: dict[str, Any]) -> None:
        try:
            write_json(self.path / name, content)
        except OSError as error:
            raise SweepError(
                f"cannot write {self.path / name} ({error.strerror}): make room, or choose other"
                " --runs"
            ) from None

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SweepError(
                f"{self.path} holds no {name}: submit the sweep first, or name its folder with"
                " --runs"
            ) from None
        except ValueError as error:
            raise SweepError(f"{path} is damaged ({error}): move it away") from None
