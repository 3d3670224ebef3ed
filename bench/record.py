"""One run, one folder. Whatever is written is written whole: a new file beside the old one, then ``os.replace``.

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
import os
import platform
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.git import git

COMMAND = "OT_BENCH_COMMAND"  # set for jobs: the command of the sweep, for theirs says nothing to a reader
LARGEST = 2**63 - 1  # the largest whole number that a table of results can hold
STATES = ("pending", "running", "done", "failed")
_PACKAGES = ("torch", "numpy", "scipy", "lapjv", "pot", "ott-jax", "scikit-learn", "ot-couplings-bench")


class RunFolderError(ValueError):
    """The run folder cannot be used; the message names the way out."""


@dataclass(frozen=True)
class Measurement:
    """One number and what it needs to be understood; a field that does not apply is None.

    Attributes:
        metric: what was measured, such as ``fd_classifier`` or ``curvature_fm``.
        value: the number.
        nfe: denoiser evaluations per image.
        rho: exponent of the sigma schedule.
        sampler: ``heun``, ``euler`` or an adaptive one with its tolerance.
        start: where sampling began, such as ``gaussian``.
        guidance: the guidance used, such as ``none``.
        split: the split compared with, ``train`` or ``test``.
        n: number of generated images (or pools) behind the number.
        sigma: noise level, for profiles over sigma.

    """

    metric: str
    value: float
    nfe: int | None = None
    rho: float | None = None
    sampler: str | None = None
    start: str | None = None
    guidance: str | None = None
    split: str | None = None
    n: int | None = None
    sigma: float | None = None

    @property
    def key(self) -> tuple:
        """What the measurement is of: all fields but the value."""
        return tuple(getattr(self, f.name) for f in fields(self) if f.name != "value")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # Made by the kernel with mode 0666 less the umask; files of `tempfile` are readable by their owner only.
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file atomically."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


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
        status = self._read("status.json") if (self.path / "status.json").exists() else {"state": "pending"}
        if status.get("state") not in STATES:
            state = status.get("state")
            raise RunFolderError(f"{self.path / 'status.json'}: no such state {state!r}: move the folder away")
        return status

    def is_done(self) -> bool:
        """Whether all is measured."""
        return self.status()["state"] == "done"

    def set_status(self, state: str, **more: object) -> None:
        """Record the state with the time and what is worth knowing."""
        assert state in STATES, state
        write_json(self.path / "status.json", {"state": state, "updated": utc_now(), **more})

    def measurements(self) -> list[Measurement]:
        """All measurements, in the order they were made; raises RunFolderError where one cannot be read."""
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
        lines = (json.dumps({k: v for k, v in asdict(m).items() if v is not None}) for m in measurements)
        write_bytes(self.path / "metrics.jsonl", "".join(line + "\n" for line in lines).encode())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep a second process out of the folder; the lock ends with the process, even a killed one.

        Raises:
            RunFolderError: another process is at work here, or the folder cannot be written.

        """
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderError(f"{self.path} is in use by another process: wait for it, or stop it") from None
        except OSError as error:
            raise RunFolderError(
                f"cannot write {self.path} ({error.strerror}): make it writable, or choose another folder with --runs"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _read(self, name: str) -> dict:
        """Read a JSON file; raises RunFolderError where it is damaged, FileNotFoundError where it is missing."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise RunFolderError(f"{self.path / name} is damaged ({error}): move the folder away") from None


def utc_now() -> str:
    """The time in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def command_line() -> str:
    """The command that started this process, as one would type it."""
    return shlex.join(["python", *map(readable, sys.orig_argv[1:])])


def readable(word: str) -> str:
    """The word of a command line as UTF-8, where the locale could not read it: a C locale reads ASCII only."""
    try:
        word.encode()
    except UnicodeEncodeError:  # bytes that Python keeps as surrogates, which no page or table can hold
        return os.fsencode(word).decode(errors="replace")
    return word


def provenance(device: str, **more: object) -> dict:
    """What produced a run: code, versions, hardware, command line; ``more`` adds seeds, checksums and the like."""
    import torch

    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    hardware = {"machine": platform.machine(), "cpu": _cpu_name(), "threads": torch.get_num_threads()}
    if device.startswith("cuda"):
        hardware["gpu"] = torch.cuda.get_device_name(device)
    return {
        **_git_state(),
        "versions": versions,
        "hardware": hardware,
        "device": device,
        "command": os.environ.get(COMMAND) or command_line(),
        "started": utc_now(),
        **more,
    }


def _git_state() -> dict:
    """Commit and dirty flag of the code that is running; None where it is not kept in a repository."""
    here = Path(__file__).resolve()

    def ask(*args: str) -> str:
        return os.fsdecode(git(here.parent, *args, trusted=here.parents[1])).strip()

    try:
        # An environment inside somebody's repository (.venv/) is not part of it: its commit is not ours.
        ask("ls-files", "--error-unmatch", "--", here.name)
        sha = ask("rev-parse", "HEAD")
        # A new file counts where it is code; runs and data in the same folder are no change of the code.
        new = ask("ls-files", "--others", "--exclude-standard", "--full-name", "--", ":/*.py")
        changes = ask("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return {"git_sha": None, "git_dirty": None}
    return {"git_sha": sha, "git_dirty": bool(new or changes)}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
