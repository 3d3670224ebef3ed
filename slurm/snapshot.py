"""A copy of the code as it was at submission: jobs start hours later, when the files here may be
others.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.record.git import git
from slurm.resources import SweepError

ROOT = Path(__file__).parents[1]
# A patch that ``git apply`` takes: settings of the repository would print another one, or another
# program's.
_DIFF = (
    "diff", "--binary", "--full-index", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--unified=3",
    "--inter-hunk-context=0", "--src-prefix=a/", "--dst-prefix=b/", f"-O{os.devnull}", "HEAD", "--",
)  # fmt: skip
_ROOMS = ("bench", "couplings", "models", "reports", "slurm")


@dataclass(frozen=True)
class Snapshot:
    """The code of a submission.

    Attributes: path: the copy, a git checkout of its own with the same changes; None where the code
        is no checkout. git_sha: its commit. changes: the name of the file beside the copy that
        holds the changes since that commit; None for a clean tree.

    """

    path: Path | None
    git_sha: str | None
    changes: str | None

    def recorded(self) -> dict[str, object]:
        """What the manifest says of it."""
        copy = self.path.name if self.path else None
        return {
            "git_sha": self.git_sha,
            "git_dirty": bool(self.changes),
            "copy": copy,
            "changes": self.changes,
        }

    def setup(self) -> list[str]:
        """Shell lines that make a job import the copy, or what is installed, wherever it starts."""
        lines = ["export PYTHONSAFEPATH=1"]  # or the folder of the submission would come first
        code = self.path or ROOT
        # What pip installed is found without help, and before the standard library it would hide
        # parts of that.
        if not code.name.endswith("-packages"):
            lines.append(f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}")
        return lines


@dataclass(frozen=True)
class _State:
    """Commit, changes since as a binary patch, and new files in our rooms; commit None where it is
    no checkout.
    """

    sha: str | None
    patch: bytes = b""
    new: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def of(cls, root: Path) -> _State:
        try:
            top = os.fsdecode(git(root, "rev-parse", "--show-toplevel", trusted=root)).removesuffix(
                "\n"
            )
            if Path(top).resolve() != root.resolve():
                return cls(None)
            sha = git(root, "rev-parse", "HEAD", trusted=root).decode().strip()
        except (OSError, subprocess.CalledProcessError):
            return cls(None)
        command = ("ls-files", "-z", "--others", "--exclude-standard", "--", *_ROOMS)
        listed = os.fsdecode(git(root, *command, trusted=root)).split("\0")
        # A repository inside ours is listed as a folder; it is not our code.
        new = tuple(
            (name, (root / name).read_bytes()) for name in listed if name and not name.endswith("/")
        )
        return cls(sha, git(root, *_DIFF, trusted=root), new)

    def snapshot(self, folder: Path) -> Snapshot:
        if self.sha is None:
            return Snapshot(None, None, None)
        if os.pathsep in str(folder):
            raise SweepError(f"{folder}: PYTHONPATH, by which jobs find the code, splits at {os.pathsep!r}: "
                             f"choose --runs without it")  # fmt: skip
        name, dirty = self.sha[:12], bool(self.patch or self.new)
        if dirty:
            name += f"-{hashlib.sha256(self.patch + repr(self.new).encode()).hexdigest()[:8]}"
        return Snapshot(folder / name, self.sha, f"{name}.diff" if dirty else None)


def take(folder: Path, root: Path = ROOT) -> Snapshot:
    """Copy the code into ``folder``, once for each state of it; the copy stays while jobs may need
    it.

    Raises:
        SweepError: it cannot be copied.

    """
    with _told(folder):
        code = _State.of(root)
        planned = code.snapshot(folder)
        if planned.path is not None and not planned.path.exists():
            _copy(root, code, planned.path)
    return planned


def plan(folder: Path, root: Path = ROOT) -> Snapshot:
    """Where ``take`` would put its copy.

    Raises:
        SweepError: the code cannot be read.

    """
    with _told(folder):
        return _State.of(root).snapshot(folder)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Failures of git and of the disk as one line."""
    try:
        yield
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        raise SweepError(
            f"cannot copy the code to {folder}: {' '.join(os.fsdecode(said).split())}"
        ) from None


def _copy(root: Path, code: _State, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    # The process that serves a clone asks again who owns the checkout, and never sees the options
    # of this one.
    trusted = [
        f"-c safe.directory={shlex.quote(str(path))}"
        for path in (root.resolve(), root.resolve() / ".git")
    ]
    serve = " ".join(["git", *trusted, "upload-pack"])
    try:
        # A checkout of its own, so that a run's provenance names the commit and whether it was
        # changed. By its path: in a URL, % would begin a code.
        options = ("--quiet", "--depth=1", "--no-local", "--template=", f"--upload-pack={serve}")
        git(making, "clone", *options, "--", str(root.resolve()), str(making))
        git(making, "checkout", "--quiet", "--detach", code.sha)
        if code.patch:
            git(making, "apply", "--whitespace=nowarn", "-", content=code.patch)
        for name, content in code.new:
            (making / name).parent.mkdir(parents=True, exist_ok=True)
            (making / name).write_bytes(content)
        if code.patch or code.new:
            listing = "".join(f"new file: {name}\n" for name, _ in code.new)
            target.with_name(f"{target.name}.diff").write_bytes(os.fsencode(listing) + code.patch)
        making.chmod(0o755)
        os.replace(making, target)
    finally:
        shutil.rmtree(making, ignore_errors=True)
