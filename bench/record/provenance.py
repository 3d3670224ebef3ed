"""Origin of the numbers: commit, versions, hardware, command."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.record.command import COMMAND, command_line, without_folders
from bench.record.git import git

_PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "lapjv",
    "pot",
    "ott-jax",
    "scikit-learn",
    "ot-couplings-bench",
)


def utc_now() -> str:
    """The time in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def provenance(device: str, **more: object) -> dict:
    """Origin of a run's numbers: code, versions, hardware, command line.

    Args:
        device: that computes.
        more: seeds, checksums and the like.

    """
    import torch

    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    # Threads change sums of floats in the last digits.
    hardware = {
        "machine": platform.machine(),
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
    }
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


def shareable(origin: dict) -> dict:
    """The provenance of a run for pages and bundles: its commands without folders of this machine.

    Args:
        origin: as read from provenance.json.

    """
    sessions = [_without_folders(session) for session in origin.get("earlier_sessions", [])]
    shared = _without_folders(origin)
    # Records of earlier versions have no such list, and get none.
    return {**shared, "earlier_sessions": sessions} if sessions else shared


def _without_folders(session: dict) -> dict:
    if not isinstance(session.get("command"), str):
        return session
    return {**session, "command": without_folders(session["command"])}


def _git_state() -> dict:
    """Commit and dirty flag of the code that is running; None if it is in no repository."""
    here = Path(__file__).resolve()

    def ask(*args: str) -> str:
        return os.fsdecode(git(here.parent, *args, trusted=here.parents[2])).strip()

    try:
        # An environment inside a user's repository (.venv/) is not part of it: the commit there is
        # not ours.
        ask("ls-files", "--error-unmatch", "--", here.name)
        sha = ask("rev-parse", "HEAD")
        # A new file counts if it is code; runs and data in the same folder are no change of the
        # code.
        new = ask("ls-files", "--others", "--exclude-standard", "--full-name", "--", ":/*.py")
        changes = ask("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return {"git_sha": None, "git_dirty": None}
    return {"git_sha": sha, "git_dirty": bool(new or changes)}


def _cpu_name() -> str:
    # On Linux `platform.processor` is empty, or the architecture only.
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
