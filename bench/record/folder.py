"""One run, one folder: its files, its lock, its state, and the sessions that work on it.

A run folder holds::

    config.json              identity of the run: all that affects its numbers
    provenance.json          commit, versions, hardware, data checksum, earlier sessions
    status.json              state (pending, running, stopped, done, failed), stage or reason, time
    metrics.jsonl            one Measurement a line
    metrics.json             description of each metric in it
    training.csv             loss over the images seen, whole and by noise level
    evaluation.json          which measurements are made, and from which weights
    checkpoint.pt            the newest training state; checkpoint-previous.pt the one before
    guidance/                discriminators, if any were trained
    samples/                 grids of generated images, and the images if they are kept
    traceback.txt            of the last session, if it ended with an unexpected error
    .lock                    held while a process works here

Every file is written whole: a new file next to the old one, then ``os.replace``.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from bench.record.errors import UserError, is_ours, one_line
from bench.record.files import write_bytes, write_json
from bench.record.measurement import Measurement
from bench.record.provenance import utc_now

STATES = ("pending", "running", "stopped", "done", "failed")
TRACEBACK = "traceback.txt"
# Of an earlier session, in the provenance of a resumed run
_OF_A_SESSION = ("started", "git_sha", "git_dirty", "device", "processes", "parallel", "command")


class RunFolderError(UserError):
    """The run folder cannot be used; the message names the way out."""


class OtherRunError(RunFolderError):
    """The folder holds a run of another configuration, or one of other data."""


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
        """True if a run was ever begun here."""
        return (self.path / "config.json").exists()

    def config(self) -> dict:
        """The run's configuration as nested dictionaries."""
        return self._read("config.json")

    def provenance(self) -> dict:
        """The origin of the numbers: code, versions, hardware, data."""
        return self._read("provenance.json")

    def status(self) -> dict:
        """The run's state; ``{"state": "pending"}`` before it began."""
        path = self.path / "status.json"
        if not path.exists():
            return {"state": "pending"}
        # An unknown state is a file of another program or a later version: nothing to guess at.
        status = self._read("status.json")
        state = status.get("state")
        if state not in STATES:
            raise RunFolderError(f"{path}: no such state {state!r}: move the folder away")
        return status

    def is_done(self) -> bool:
        """True if all is measured."""
        return self.status()["state"] == "done"

    def set_status(self, state: str, **more: object) -> None:
        """Record the state with the time; ``more`` is a stage, or the reason of a failure."""
        assert state in STATES, state
        write_json(self.path / "status.json", {"state": state, "updated": utc_now(), **more})

    def mark_stopped(self) -> None:
        """Record that the process which worked here was stopped; a finished run stays finished."""
        # A process that is stopped must not fail over it, such as on a full disk.
        with suppress(OSError, RunFolderError):
            status = self.status()
            if status["state"] == "running":
                self.set_status("stopped", stage=status.get("stage", ""))

    def check_identity(self, identity: dict) -> None:
        """Refuse a folder of another configuration.

        Raises:
            OtherRunError: its config.json differs, or cannot be read.

        """
        # The name holds a hash of the identity, but folders can be renamed or copied.
        try:
            differs = self.exists() and self.config() != identity
        except RunFolderError:
            raise OtherRunError(
                f"{self}/config.json cannot be read: move the folder away, or use other --runs"
            ) from None
        if differs:
            raise OtherRunError(
                f"{self} holds another configuration: move it away, or choose another folder with"
                " --runs"
            )

    def check_data(self, checksum: str) -> None:
        """Refuse data other than the run was begun with.

        Raises:
            OtherRunError: their checksum differs.

        """
        # A checksum, for a name says nothing about the images in a user's folder.
        begun = (self.path / "provenance.json").exists()
        if begun and self.provenance()["data_checksum"] != checksum:
            raise OtherRunError(
                f"{self} was begun with other data of the same name: move it away, or use other"
                " --runs"
            )

    def measurements(self) -> list[Measurement]:
        """All measurements, in the order they were made.

        Raises:
            RunFolderError: one of them cannot be read.

        """
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        # The file is replaced whole, so a line cut short is no trace of a crash but damage.
        lines = path.read_text(encoding="utf-8").splitlines()
        try:
            return [Measurement(**json.loads(line)) for line in lines]
        except (ValueError, TypeError) as error:
            raise RunFolderError(f"{path} is damaged ({error}): move the folder away") from None

    def add(self, measurements: list[Measurement]) -> None:
        """Add measurements; one that was made before is replaced, never doubled."""
        # A dictionary keeps the place of the first and the value of the last.
        by_key = {row.key: row for row in [*self.measurements(), *measurements]}
        self._write(by_key.values())

    def remove(self, keys: Collection[tuple]) -> None:
        """Remove the measurements of these keys."""
        self._write(row for row in self.measurements() if row.key not in keys)

    def _write(self, measurements: Iterable[Measurement]) -> None:
        lines = []
        for row in measurements:
            # Fields that do not apply are left out: most lines have three or four.
            content = {key: value for key, value in asdict(row).items() if value is not None}
            lines.append(json.dumps(content) + "\n")
        write_bytes(self.path / "metrics.jsonl", "".join(lines).encode())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second process out of the folder.

        The lock ends with the process, even a killed one.

        Raises:
            RunFolderError: another process is at work here, or the folder cannot be written.

        """
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            # No waiting: two commands on one run are a mistake that the user should hear of.
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

    @contextmanager
    def session(
        self, first: bool = True, is_whole: Callable[[RunFolder], bool] = is_done
    ) -> Iterator[Session]:
        """Work on the run: holds the lock, and records a failure before it is raised further.

        Args:
            first: True in the process that keeps the folder; in the others a session writes
                nothing.
            is_whole: True if what a finished run holds can still be reported. If measuring more
                fails then, the run stays finished.

        Raises:
            RunFolderError: the folder is locked or cannot be written.

        """
        if not first:
            yield Session(self, first=False)
            return
        with self.lock():
            # Now: the session changes the state.
            was_done = self.is_done()
            try:
                yield Session(self)
            except KeyboardInterrupt:
                self.mark_stopped()
                raise
            # A stopped run has not failed.
            except Exception as error:
                self._keep_traceback(error)
                # A full disk must not hide the error that ended the run.
                with suppress(OSError, RunFolderError):
                    if was_done and is_whole(self):
                        self.set_status("done")
                    else:
                        name = type(error).__name__
                        self.set_status("failed", reason=str(error) or name, error=name)
                raise

    def failure_line(self, error: Exception) -> str:
        """The line for the terminal about a run that failed, with the place of its traceback."""
        kept = self.path / TRACEBACK
        more = f" (traceback: {kept})" if not is_ours(error) and kept.exists() else ""
        return f"error: {self.run_id}: {one_line(error)}{more}"

    def _keep_traceback(self, error: Exception) -> None:
        # Errors of ours are whole sentences: a traceback adds nothing for a user.
        if is_ours(error):
            return
        text = "".join(traceback.format_exception(error))
        with suppress(OSError):
            write_bytes(self.path / TRACEBACK, text.encode())

    def _read(self, name: str) -> dict:
        """Read a JSON file.

        Raises:
            RunFolderError: it is damaged.
            FileNotFoundError: it is missing.

        """
        path = self.path / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunFolderError(f"{path} is damaged ({error}): move the folder away") from None
        if not isinstance(content, dict):
            raise RunFolderError(f"{path} is damaged (no JSON object): move the folder away")
        return content


class Session:
    """One command's work on a run, from its provenance to its state ``done``.

    All processes of a run have one; only that of the first process writes.
    """

    def __init__(self, folder: RunFolder, first: bool = True):
        self.folder = folder
        self.first = first

    def begin(self, identity: dict, origin: dict, trainer: RunFolder | None = None) -> None:
        """Record what the run is and where its numbers come from.

        Args:
            identity: for config.json.
            origin: for provenance.json. Features that earlier sessions measured in stay in it,
                and so does the primary question of the first one.
            trainer: the folder of the run that trained the network, if it was another one.

        """
        if not self.first:
            return
        path = self.folder.path / "provenance.json"
        before = self.folder.provenance() if path.exists() else {}
        # The code may have changed between two sessions of one run.
        earlier = _sessions_until(before)
        trained_in = before.get("trained_in")
        if trainer is not None:
            its = trainer.provenance()
            earlier = _sessions_until(its) + earlier
            # A reused training may itself have been reused.
            trained_in = its.get("trained_in", trainer.run_id)
            print(f"training reused from {trained_in}", flush=True)
        for key in ("features", "feature_sizes"):
            if key in origin:
                origin = {**origin, key: {**before.get(key, {}), **origin[key]}}
        # A question that is asked after a look at the results is no primary one.
        if before:
            origin.pop("primary", None)
            origin |= {key: before[key] for key in ("primary",) if key in before}
        origin = {**origin, "earlier_sessions": earlier}
        if trained_in:
            origin["trained_in"] = trained_in
        # Replaced in every session: the newest one comes first for a reader.
        write_json(path, origin)
        # Last: a folder with a config.json counts as a run.
        write_json(self.folder.path / "config.json", identity)
        self.enter("training")

    def enter(self, stage: str) -> None:
        """Record the stage.

        A finished run of which more is measured stays finished, also if that is stopped.
        """
        if self.first and not self.folder.is_done():
            self.folder.set_status("running", stage=stage)

    def add(self, measurements: list[Measurement]) -> None:
        """Add measurements."""
        if self.first:
            self.folder.add(measurements)

    def finish(self) -> None:
        """Record that all is measured, and forget the failure of an earlier session."""
        if self.first:
            self.folder.set_status("done")
            (self.folder.path / TRACEBACK).unlink(missing_ok=True)


def _sessions_until(before: dict) -> list[dict]:
    """All sessions up to this provenance: a resumed run names every commit that took part."""
    if not before:
        return []
    last = {key: before.get(key) for key in _OF_A_SESSION}
    return [*before.get("earlier_sessions", []), last]
