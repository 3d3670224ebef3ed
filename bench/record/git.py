"""Calls of git whose answer depends on the repository, not on the user's shell or settings.

Git's own variables point it to another repository (hooks and ``git rebase --exec`` set GIT_DIR),
and settings in the home folder change what it prints (``diff.external``, ``color.ui``), refuse a
clone (``protocol.file.allow``) or run programs (``core.hooksPath``, ``init.templateDir``).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# Needed to find git's own programs, and set by administrators for the file system
_KEPT = ("GIT_EXEC_PATH", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM")
# Settings of the repository itself that would run a program, or print files that only look changed.
_SETTINGS = ("core.fsmonitor=false", f"core.hooksPath={os.devnull}", "diff.autoRefreshIndex=true")


def git(
    folder: Path, *args: str, trusted: Path | None = None, content: bytes | None = None
) -> bytes:
    """The output of ``git -C folder args``.

    Args:
        folder: where git looks for the repository, upwards from there.
        args: the command.
        trusted: a checkout that git may read whoever owns it; it must be one whose code runs
            anyway.
        content: the standard input; none by default.

    Raises:
        OSError: git is not installed.
        subprocess.CalledProcessError: git refuses; ``stderr`` says why.

    """
    settings = [*_SETTINGS]
    if trusted is not None:
        settings.append(f"safe.directory={trusted.resolve()}")
    options = []
    for setting in settings:
        options += ["-c", setting]
    command = ["git", *options, "-C", str(folder), *args]
    # An empty input instead of none: git must never wait for a terminal.
    given = content or b""
    done = subprocess.run(command, input=given, capture_output=True, check=True, env=_environment())
    return done.stdout


def _environment() -> dict[str, str]:
    """The environment without git's variables, and with a home that holds no settings of git."""
    environment = {}
    for key, value in os.environ.items():
        if not key.startswith("GIT_") or key in _KEPT:
            environment[key] = value
    nowhere = {
        "HOME": os.devnull,
        "XDG_CONFIG_HOME": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
    }
    # Jobs that share a copy of the code ask at the same time: none may lock its index. Errors are
    # in English.
    return {**environment, **nowhere, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
