"""One run, one folder. Whatever is written is written whole: a new file beside the old one, then
``os.replace``.

A run folder holds::

    config.json        the RunConfig of the run
    provenance.json    git sha, versions, hardware, data checksum
    status.json        state (pending, running, done, failed), reason, images, times
    metrics.jsonl      one Measurement a line
    checkpoint.pt      the newest training state, checkpoint-previous.pt the one before
    samples/           grids of generated images
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from bench.record.errors import UserError
from bench.record.files import write_bytes, write_json
from bench.record.measurement import Measurement
from bench.record.provenance import utc_now

STATES = ("pending", "running", "done", "failed")


class RunFolderError(UserError):
    """The run folder cannot be used; the message names the way out."""


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path):
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    def exists(self) -> bool:
        """Whether a run was ever begun here."""
        return (self.path / "config.json").exists()

    def config(self) -> dict:
        """The run's configuration as nested dictionaries."""
        return self._read("config.json")

    def provenance(self) -> dict:
        """Where the numbers come from."""
        return self._read("provenance.json")

    def status(self) -> dict:
        """The run's state; ``{"state": "pending"}`` before it began."""
        status = (
            self._read("status.json")
            if (self.path / "status.json").exists()
            else {"state": "pending"}
        )
        if status.get("state") not in STATES:
            state = status.get("state")
            raise RunFolderError(
                f"{self.path / 'status.json'}: no such state {state!r}: move the folder away"
            )
        return status

    def is_done(self) -> bool:
        """Whether all is measured."""
        return self.status()["state"] == "done"

    def set_status(self, state: str, **more: object) -> None:
        """Record the state with the time and what is worth knowing."""
        assert state in STATES, state
        write_json(self.path / "status.json", {"state": state, "updated": utc_now(), **more})

    def measurements(self) -> list[Measurement]:
        """All measurements, in the order they were made; raises RunFolderError where one cannot be
        read.
        """
        path = self.path / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        try:
            return [Measurement(**json.loads(line)) for line in lines]
        except (ValueError, TypeError) as error:
            raise RunFolderError(f"{path} is damaged ({error}): move the folder away") from None

    def add(self, measurements: list[Measurement]) -> None:
        """Add measurements; one that was made before is replaced, never doubled."""
        self._write({m.key: m for m in [*self.measurements(), *measurements]}.values())

    def remove(self, keys: Collection[tuple]) -> None:
        """Remove the measurements of these keys."""
        self._write([m for m in self.measurements() if m.key not in keys])

    def _write(self, measurements: Iterable[Measurement]) -> None:
        lines = (
            json.dumps({k: v for k, v in asdict(m).items() if v is not None}) for m in measurements
        )
        write_bytes(self.path / "metrics.jsonl", "".join(line + "\n" for line in lines).encode())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second process out of the folder; the lock ends with the process, even a killed
        one.

        Raises:
            RunFolderError: another process is at work here, or the folder cannot be written.

        """
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderError(
                f"{self.path} is in use by another process: wait for it, or stop it"
            ) from None
        except OSError as error:
            raise RunFolderError(
                f"cannot write {self.path} ({error.strerror}): make it writable, or choose another"
                " folder with --runs"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _read(self, name: str) -> dict:
        """Read a JSON file; raises RunFolderError where it is damaged, FileNotFoundError where it
        is missing.
        """
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunFolderError(
                f"{self.path / name} is damaged ({error}): move the folder away"
            ) from None
