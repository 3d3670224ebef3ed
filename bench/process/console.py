"""Output of commands: pipes and terminals that close, and encodings that lack letters."""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TextIO

from bench.process.defaults import wait_without_spinning
from bench.record import missing_package

SPELLED = "spelled"  # an error handler of codecs: letters that an encoding lacks are spelled
# Letters of our tables and messages that a C locale or an old code page lacks
_SPELLED = {"×": "x", "−": "-", "–": "-", "±": "+/-", "²": "^2", "é": "e", "É": "E", "∞": "inf"}


def worker(main: Callable[[], int]) -> int:
    """Run a command that continues when nobody reads its output any more.

    Its results are in files. The pipe of ``bench.run ... | head -1`` ends early, and so does a
    terminal that closes on ``nohup``.
    """
    wait_without_spinning()
    sys.stdout = _lasting(sys.stdout)
    sys.stderr = _lasting(sys.stderr)
    return _code_of(main)


def printer(descriptor: int, encoding: str, is_terminal: bool) -> TextIO:
    """A stream that writes lines to a descriptor and never fails.

    Args:
        descriptor: of a file or a pipe.
        encoding: of the text; letters that it lacks are spelled.
        is_terminal: True if a terminal is at the other end of a pipe, so that progress is shown.

    """
    outlet: Any = _Outlet(descriptor, is_terminal)
    return io.TextIOWrapper(outlet, encoding, "spelled", line_buffering=True, write_through=True)


def reader(main: Callable[[], int]) -> int:
    """Run a command that only prints; like Unix's own, it ends when nobody reads it any more."""
    # Python turns the signal into a BrokenPipeError, with a traceback.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="spelled")
    return _code_of(main)


def _code_of(main: Callable[[], int]) -> int:
    """The exit code of a command; a missing package is one line that names its extra, and 2."""
    try:
        return main()
    except ModuleNotFoundError as error:
        line = missing_package(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 2


class _Outlet(io.RawIOBase):
    """A file that swallows whatever its descriptor no longer takes."""

    def __init__(self, descriptor: int, is_terminal: bool | None = None):
        self._descriptor = descriptor
        self._is_terminal = is_terminal

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        if self._is_terminal is not None:
            return self._is_terminal
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        left = memoryview(data)
        # A pipe may take a part at a time.
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            # EPIPE of a pipe, EIO of a terminal, ENOSPC of a log: nowhere to say so.
            pass
        return len(data)


def _lasting(stream: object) -> object:
    """The stream, writing to an outlet that never fails."""
    # Such as the stream of a test or a notebook
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    outlet = _Outlet(stream.fileno())
    # Unbuffered with ``python -u``, as the user asked
    binary: Any = outlet if stream.write_through else io.BufferedWriter(outlet)
    return io.TextIOWrapper(
        binary,
        stream.encoding,
        "spelled",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Spell letters that an encoding lacks: a lost sign would turn a number into its opposite."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    spelled = ""
    for letter in error.object[error.start : error.end]:
        spelled += _SPELLED.get(letter) or letter.encode("ascii", "backslashreplace").decode()
    return spelled, error.end


codecs.register_error(SPELLED, _spelled)
