"""The command that started this process, and the names by which users call commands."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

# Set for jobs: the command of the sweep, because that of a job says nothing to a reader
COMMAND = "OT_BENCH_COMMAND"
PROGRAM = "ot-couplings"  # the console command; ``python -m MODULE`` does the same
# The word after the console command, to the module that it runs.
MODULES = {
    "run": "bench.run",
    "evaluate": "bench.evaluate",
    "report": "reports.build",
    "diff": "reports.diff",
    "bundle": "reports.bundle",
    "studies": "reports.index",
    "couplings": "couplings",
    "solve": "bench.solve",
    "speed": "bench.speed",
    "submit": "slurm.submit",
    "status": "slurm.status",
    "cancel": "slurm.cancel",
}
_WORDS = {module: word for word, module in MODULES.items()}
# An absolute path up to the next option of a spec; names of folders may hold equals signs. Its name
# is the group.
_ABSOLUTE = re.compile(r"(?:(?<=[=,:])|^)/(?:[^,]*/)?([^/,]+)/?(?=,|$)")
_CALL = re.compile(r"python -m ([a-z]+(?:\.[a-z]+)?)(?![\w.]*\w)")


def command_line() -> str:
    """The command that started this process, as one would type it."""
    if is_console():
        return shlex.join([PROGRAM, *map(readable, sys.argv[1:])])
    return shlex.join(["python", *map(readable, sys.orig_argv[1:])])


def without_folders(command: str) -> str:
    """A command line without the folders of this machine: ``/home/me/photos`` is ``.../photos``.

    For pages and bundles, which are passed on. Relative paths stay.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        # Not of this project's making: nobody can tell its paths from its other words.
        return ""
    # Quoted only where it must be, as it was.
    return shlex.join(map(_without_folder, words))


def _without_folder(word: str) -> str:
    """One word of a command line, in which paths may follow an option or stand in a spec:
    ``--runs=/home/me/runs``, ``torchscript:path=/home/me/net.pt``.
    """
    return _ABSOLUTE.sub(r".../\1", word)


def is_console() -> bool:
    """True if the console command started this process."""
    return Path(sys.argv[0]).stem == PROGRAM


def spelled(text: str) -> str:
    """A text with its commands as the user calls them: ``ot-couplings run`` for ``python -m
    bench.run`` if this process was started so.
    """
    return _CALL.sub(_as_called, text) if is_console() else text


def _as_called(match: re.Match) -> str:
    word = _WORDS.get(match[1])
    # Other modules have no word there.
    return f"{PROGRAM} {word}" if word else match[0]


def readable(word: str) -> str:
    """The word of a command line as UTF-8, also if the locale could not read it.

    A C locale reads ASCII only; Python keeps other bytes as surrogates, which no page or table can
    hold.
    """
    try:
        word.encode()
    except UnicodeEncodeError:
        return os.fsencode(word).decode(errors="replace")
    return word
