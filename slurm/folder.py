"""The folder of a sweep, ``RUNS/sweeps/NAME/``: what was asked for, which jobs do it, how each
fared.

::

    manifest.json       the runs, their resources, the code, the sweep file; written before anything is submitted
    jobs.json           the job of each run, and that of the report; written after every array
    attempts/RUN.json   what the run's latest job says of itself: running, done or failed, and why
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

from bench.record import utc_now, write_json
from slurm.resources import SweepError
from slurm.sweep import Entry, Sweep

_TAIL_BYTES = 8192
# Said by SLURM and submitit after the error itself.
_NOT_THE_REASON = ("srun:", "slurmstepd:", "submitit ", "[rank")


@dataclass
class Jobs:
    """Which job does which run; ids as submitit has them, ``4242_3`` in an array."""

    runs: dict[str, str] = field(default_factory=dict)
    report: str | None = None
    past_reports: list[str] = field(default_factory=list)


class SweepFolder:
    """The files of one sweep."""

    def __init__(self, runs_dir: Path, name: str):
        self.runs_dir = runs_dir.resolve()
        self.path = self.runs_dir / "sweeps" / name

    @property
    def comment(self) -> str:
        """What marks the sweep's jobs in the queue."""
        return str(self.path)

    def check_for_sbatch(self) -> None:
        """Refuse a path that a job script cannot hold.

        Raises:
            SweepError: sbatch would put a job's number for a part of it, or end its line there.

        """
        for sign, reason in (
            ("%", "sbatch puts job numbers in place of %"),
            ("\n", "a job script ends lines there"),
        ):
            if sign in str(self.path):
                raise SweepError(
                    f"{self.runs_dir}: {reason}: choose --runs without {sign!r}, or --cluster local"
                )

    def manifest(self) -> dict:
        """What was last submitted.

        Raises:
            SweepError: nothing ever was, or the file is damaged.

        """
        return self._read("manifest.json")

    def run_ids(self) -> list[str]:
        """The runs of the sweep, in its order."""
        return [run["run_id"] for run in self.manifest()["runs"]]

    def write_manifest(
        self, sweep: Sweep, entries: list[Entry], text: str, code: dict[str, object]
    ) -> None:
        """Write down what is asked for."""
        classes = {repr(entry.resources): asdict(entry.resources) for entry in entries}
        numbers = {key: number for number, key in enumerate(classes)}
        content = {
            "name": sweep.name,
            "submitted": utc_now(),
            "code": code,
            "sweep": text,
            "resources": list(classes.values()),
            "runs": [
                {
                    "run_id": entry.run_id,
                    "label": entry.label,
                    "resources": numbers[repr(entry.resources)],
                }
                for entry in entries
            ],
        }
        self._write("manifest.json", content)

    def jobs(self) -> Jobs:
        """The jobs as far as they are written down."""
        return Jobs(**self._read("jobs.json")) if (self.path / "jobs.json").exists() else Jobs()

    def write_jobs(self, jobs: Jobs) -> None:
        """Write down the jobs."""
        self._write("jobs.json", asdict(jobs))

    def attempt(self, run_id: str) -> dict:
        """What the run's latest job said of itself; empty where none has begun."""
        try:
            return json.loads(
                (self.path / "attempts" / f"{run_id}.json").read_text(encoding="utf-8")
            )
        except FileNotFoundError:
            return {}
        except ValueError:
            return {"state": "failed", "reason": f"attempts/{run_id}.json is damaged: remove it"}

    def on_cluster(self) -> bool:
        """Whether SLURM had it last; a sweep of this machine has jobs named by their folder."""
        jobs = self.jobs()
        return jobs.report is not None and not any("/" in job for job in jobs.runs.values())

    def may_be_queued(self) -> bool:
        """Whether SLURM may hold jobs of the sweep: it was given some that did not end here."""
        jobs = self.jobs()
        return jobs.report is not None or any("/" not in job for job in jobs.runs.values())

    def forget_attempts(self, run_ids: list[str]) -> None:
        """Forget what former jobs of these runs said, which now will be tried again."""
        (self.path / "attempts").mkdir(exist_ok=True)
        for run_id in run_ids:
            (self.path / "attempts" / f"{run_id}.json").unlink(missing_ok=True)

    def log(self, job_id: str) -> Path:
        """What the job wrote to its standard error."""
        # On this machine a process id, which a later sweep may meet again
        where, _, name = job_id.rpartition("/")
        return self.path / "logs" / (where or name.split("_")[0]) / f"{name}_0_log.err"

    def last_line(self, job_id: str | None) -> str:
        """The last line of a job's log that says something; empty where there is none."""
        path = self.log(job_id) if job_id else None
        if path is None or not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
        said = [
            line.strip() for line in lines if line.strip() and not line.startswith(_NOT_THE_REASON)
        ]
        return said[-1] if said else ""

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second submission waiting until this one is through; the lock ends with the
        process.

        Raises:
            SweepError: the folder cannot be written.

        """
        from filelock import FileLock

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire()
        except OSError as error:
            raise SweepError(
                f"cannot write {self.path} ({error.strerror}): choose another folder with --runs"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _write(self, name: str, content: dict) -> None:
        try:
            write_json(self.path / name, content)
        except OSError as error:
            raise SweepError(
                f"cannot write {self.path / name} ({error.strerror}): make room, or choose other"
                " --runs"
            ) from None

    def _read(self, name: str) -> dict:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SweepError(
                f"{self.path} holds no {name}: submit the sweep first, or name its folder with"
                " --runs"
            ) from None
        except ValueError as error:
            raise SweepError(f"{self.path / name} is damaged ({error}): move it away") from None
