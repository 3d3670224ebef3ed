"""A copy of the code as it was at submission: jobs start hours later, when the files here may be others."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from slurm.resources import SweepError

ROOT = Path(__file__).parents[1]
_ROOMS = ("bench", "couplings", "models", "reports", "slurm")


@dataclass(frozen=True)
class Snapshot:
    """The code of a submission.

    Attributes:
        path: the copy, a git checkout of its own with the same changes; None where the code is no checkout.
        git_sha: its commit.
        changes: the name of the file beside the copy that holds the changes since that commit; None for a clean tree.

    """

    path: Path | None
    git_sha: str | None
    changes: str | None

    def recorded(self) -> dict[str, object]:
        """What the manifest says of it."""
        copy = self.path.name if self.path else None
        return {"git_sha": self.git_sha, "git_dirty": bool(self.changes), "copy": copy, "changes": self.changes}

    def setup(self) -> list[str]:
        """Shell lines that make a job import the copy, wherever it starts."""
        if self.path is None:
            return []
        return [
            "export PYTHONSAFEPATH=1",  # or the folder of the submission would come first
            f"export PYTHONPATH={shlex.quote(str(self.path))}${{PYTHONPATH:+:$PYTHONPATH}}",
        ]


@dataclass(frozen=True)
class _State:
    """Commit, changes since as a binary patch, and new files in our rooms; commit None where it is no checkout."""

    sha: str | None
    patch: bytes = b""
    new: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def of(cls, root: Path) -> _State:
        try:
            top = _git(root, "rev-parse", "--show-toplevel").decode().strip()
            if Path(top).resolve() != root.resolve():
                return cls(None)
            sha = _git(root, "rev-parse", "HEAD").decode().strip()
        except (OSError, subprocess.CalledProcessError):
            return cls(None)
        listed = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *_ROOMS).decode().split("\0")
        new = tuple((name, (root / name).read_bytes()) for name in listed if name)
        return cls(sha, _git(root, "diff", "--binary", "HEAD"), new)

    def snapshot(self, folder: Path) -> Snapshot:
        if self.sha is None:
            return Snapshot(None, None, None)
        name, dirty = self.sha[:12], bool(self.patch or self.new)
        if dirty:
            name += f"-{hashlib.sha256(self.patch + repr(self.new).encode()).hexdigest()[:8]}"
        return Snapshot(folder / name, self.sha, f"{name}.diff" if dirty else None)


def take(folder: Path, root: Path = ROOT) -> Snapshot:
    """Copy the code into ``folder``, once for each state of it; the copy stays while jobs may need it.

    Raises:
        SweepError: it cannot be copied.

    """
    code = _State.of(root)
    planned = code.snapshot(folder)
    if planned.path is not None and not planned.path.exists():
        try:
            _copy(root, code, planned.path)
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", b"") or str(error).encode()
            raise SweepError(f"cannot copy the code to {planned.path}: {' '.join(said.decode().split())}") from None
    return planned


def plan(folder: Path, root: Path = ROOT) -> Snapshot:
    """Where ``take`` would put its copy."""
    return _State.of(root).snapshot(folder)


def _copy(root: Path, code: _State, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        # A checkout of its own, so that a run's provenance names the commit and whether it was changed.
        _git(root, "clone", "--quiet", "--depth=1", f"file://{root.resolve()}", str(making))
        _git(making, "checkout", "--quiet", "--detach", code.sha)
        if code.patch:
            _git(making, "apply", "--whitespace=nowarn", "-", content=code.patch)
        for name, content in code.new:
            (making / name).parent.mkdir(parents=True, exist_ok=True)
            (making / name).write_bytes(content)
        if code.patch or code.new:
            listing = "".join(f"new file: {name}\n" for name, _ in code.new).encode()
            target.with_name(f"{target.name}.diff").write_bytes(listing + code.patch)
        making.chmod(0o755)
        os.replace(making, target)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _git(root: Path, *args: str, content: bytes | None = None) -> bytes:
    command = ["git", "-C", str(root), *args]
    return subprocess.run(command, input=content, capture_output=True, check=True).stdout
