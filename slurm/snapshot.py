"""A copy of the code as it was at submission.

Jobs start hours later, when the files of the checkout may have changed.
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
# A patch that ``git apply`` takes. Settings of the repository could print another one, or the
# output of another program.
_DIFF = (
    "diff",
    "--binary",
    "--full-index",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-renames",
    "--unified=3",
    "--inter-hunk-context=0",
    "--src-prefix=a/",
    "--dst-prefix=b/",
    f"-O{os.devnull}",
    "HEAD",
    "--",
)
_PACKAGES = ("bench", "couplings", "models", "ot_couplings", "reports", "slurm")


@dataclass(frozen=True)
class Snapshot:
    """The code of a submission.

    Attributes:
        path: the copy, a git checkout with the same changes; None if the code is no checkout.
        git_sha: its commit.
        changes: name of the file next to the copy that holds the changes since that commit; None
            for a clean tree.

    """

    path: Path | None
    git_sha: str | None
    changes: str | None

    def recorded(self) -> dict[str, object]:
        """Return the entry of the manifest."""
        return {
            "git_sha": self.git_sha,
            "git_dirty": bool(self.changes),
            "copy": self.path.name if self.path else None,
            "changes": self.changes,
        }

    def setup(self) -> list[str]:
        """Return shell lines by which a job imports the copy, or else the installed code."""
        # Otherwise the folder of the submission, which may hold changed code, would come first.
        lines = ["export PYTHONSAFEPATH=1"]
        code = self.path or ROOT
        # Python finds installed packages anyway. With site-packages on PYTHONPATH, a package such
        # as a backport would come before the standard library and hide parts of it.
        if not code.name.endswith("-packages"):
            lines.append(f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}")
        return lines


@dataclass(frozen=True)
class _State:
    """The state of a checkout.

    Attributes:
        sha: its commit; None if it is no checkout.
        patch: changes since the commit, as a binary patch.
        new: name and content of new files in our packages.

    """

    sha: str | None
    patch: bytes = b""
    new: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def of(cls, root: Path) -> _State:
        """Read the state of a folder."""
        try:
            output = git(root, "rev-parse", "--show-toplevel", trusted=root)
            # One line end only: a folder's name may end with one as well.
            top = os.fsdecode(output).removesuffix("\n")
            # An installation inside another project's checkout is not ours to copy.
            if Path(top).resolve() != root.resolve():
                return cls(None)
            sha = git(root, "rev-parse", "HEAD", trusted=root).decode().strip()
        except (OSError, subprocess.CalledProcessError):
            return cls(None)
        return cls(sha, git(root, *_DIFF, trusted=root), _new_files(root))

    def snapshot(self, folder: Path) -> Snapshot:
        """Name the copy of this state in a folder, whether it is there or not."""
        if self.sha is None:
            return Snapshot(None, None, None)
        if os.pathsep in str(folder):
            raise SweepError(
                f"{folder}: PYTHONPATH, by which jobs find the code, splits at {os.pathsep!r}:"
                " choose --runs without it"
            )
        name = self.sha[:12]
        if not self.patch and not self.new:
            return Snapshot(folder / name, self.sha, None)
        # The same changes have the same name, so that a state is copied once.
        changes = self.patch + repr(self.new).encode()
        name += f"-{hashlib.sha256(changes).hexdigest()[:8]}"
        return Snapshot(folder / name, self.sha, f"{name}.diff")


def _new_files(root: Path) -> tuple[tuple[str, bytes], ...]:
    """Read the files of our packages that git does not know yet."""
    command = ("ls-files", "-z", "--others", "--exclude-standard", "--", *_PACKAGES)
    names = os.fsdecode(git(root, *command, trusted=root)).split("\0")
    files = []
    for name in names:
        # A repository inside ours is listed as a folder; it is not our code.
        if name and not name.endswith("/"):
            files.append((name, (root / name).read_bytes()))
    return tuple(files)


def take(folder: Path, root: Path = ROOT) -> Snapshot:
    """Copy the code into a folder, once for each state of it.

    The copy stays there, as jobs may need it for days.

    Raises:
        SweepError: it cannot be copied.

    """
    with _errors_as_one_line(folder):
        state = _State.of(root)
        planned = state.snapshot(folder)
        if planned.path is not None and not planned.path.exists():
            _copy(root, state, planned.path)
    return planned


def plan(folder: Path, root: Path = ROOT) -> Snapshot:
    """Return the snapshot that ``take`` would make, without copying.

    Raises:
        SweepError: the code cannot be read.

    """
    with _errors_as_one_line(folder):
        return _State.of(root).snapshot(folder)


@contextmanager
def _errors_as_one_line(folder: Path) -> Iterator[None]:
    """Turn failures of git and of the disk into a SweepError."""
    try:
        yield
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", b"") or str(error).encode()
        raise SweepError(
            f"cannot copy the code to {folder}: {' '.join(os.fsdecode(reason).split())}"
        ) from None


def _copy(root: Path, state: _State, target: Path) -> None:
    assert state.sha is not None
    target.parent.mkdir(parents=True, exist_ok=True)
    # Under another name until it is whole: a second submission may look at the same time.
    making = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        _clone(root, state.sha, making)
        if state.patch:
            git(making, "apply", "--whitespace=nowarn", "-", content=state.patch)
        for name, content in state.new:
            (making / name).parent.mkdir(parents=True, exist_ok=True)
            (making / name).write_bytes(content)
        if state.patch or state.new:
            listing = "".join(f"new file: {name}\n" for name, _ in state.new)
            diff = target.with_name(f"{target.name}.diff")
            diff.write_bytes(os.fsencode(listing) + state.patch)
        # mkdtemp makes folders that only their owner may enter; a job may run as another user.
        making.chmod(0o755)
        os.replace(making, target)
    finally:
        # Nothing is left there after the replacement above.
        shutil.rmtree(making, ignore_errors=True)


def _clone(root: Path, sha: str, target: Path) -> None:
    """Clone one commit, so that a run's provenance can name it and see what was changed."""
    # The process that serves a clone checks again who owns the checkout, and does not receive the
    # options of this one.
    trusted = []
    for path in (root.resolve(), root.resolve() / ".git"):
        trusted.append(f"-c safe.directory={shlex.quote(str(path))}")
    serve = " ".join(["git", *trusted, "upload-pack"])
    options = ("--quiet", "--depth=1", "--no-local", "--template=", f"--upload-pack={serve}")
    # By its path, not a file:// URL, in which % would begin an escape.
    git(target, "clone", *options, "--", str(root.resolve()), str(target))
    git(target, "checkout", "--quiet", "--detach", sha)
