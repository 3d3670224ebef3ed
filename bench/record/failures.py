"""Error lines for the terminal, and tracebacks in run folders."""

from __future__ import annotations

import traceback
from contextlib import suppress

from bench.record import RunFolder, write_bytes

ROOMS = ("bench", "couplings", "models", "reports")
TRACEBACK = "traceback.txt"  # in the run folder


def is_ours(error: Exception) -> bool:
    """Whether the error is of a type of this project: its message is a whole sentence that names
    the way out.
    """
    return type(error).__module__.split(".")[0] in ROOMS


def one_line(error: Exception) -> str:
    """What an error says, without line breaks; one of a foreign type with the name of the type."""
    message = " ".join(str(error).split())
    name = type(error).__name__.lstrip("_")  # torch's LinAlgError has one in front
    if is_ours(error):
        return message or name
    return f"{name}: {message}" if message else name


def keep_traceback(folder: RunFolder, error: Exception) -> None:
    """Write the traceback of an unexpected error to the run folder, if it can be written."""
    if not is_ours(error):
        with suppress(OSError):
            write_bytes(
                folder.path / TRACEBACK, "".join(traceback.format_exception(error)).encode()
            )


def forget_traceback(folder: RunFolder) -> None:
    """Remove the traceback of a failure that a later session has made good."""
    (folder.path / TRACEBACK).unlink(missing_ok=True)


def failure_line(folder: RunFolder, error: Exception) -> str:
    """The line for the terminal about a run that failed, with the place of the traceback where
    there is one.
    """
    kept = folder.path / TRACEBACK
    more = f" (traceback: {kept})" if not is_ours(error) and kept.exists() else ""
    return f"error: {folder.run_id}: {one_line(error)}{more}"
