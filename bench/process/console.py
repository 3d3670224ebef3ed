"""Output of commands: pipes and terminals that close, and encodings that lack letters."""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
from collections.abc import Callable

_SPELLED = {"×": "x", "−": "-", "–": "-", "±": "+/-", "²": "^2", "é": "e"}


def worker(main: Callable[[], int]) -> int:
    """Run a command whose work is worth more than what it prints: it continues when its output has
    ended.

    The pipe of ``bench.run ... | head -1`` ends early, and so does a terminal that closes on
    ``nohup``.
    """
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)
    return main()


def reader(main: Callable[[], int]) -> int:
    """Run a command that only prints: as Unix's own, it ends without a word when nobody reads it
    any more.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="spelled")
    return main()


class _Outlet(io.RawIOBase):
    """A file descriptor as long as it takes what is written; after that, nothing."""

    def __init__(self, descriptor: int):
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: memoryview) -> int:
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            # EPIPE of a pipe, EIO of a terminal, ENOSPC of a log: nowhere to say so.
            pass
        return len(data)


def _lasting(stream: object) -> object:
    """The stream with an end that never fails; one that is no file's stays as it is."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    outlet = _Outlet(stream.fileno())
    return io.TextIOWrapper(
        outlet if stream.write_through else io.BufferedWriter(outlet),
        stream.encoding,
        "spelled",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Spell letters that an encoding lacks: a lost sign would turn a number into its opposite."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    spelled = [
        _SPELLED.get(letter) or letter.encode("ascii", "backslashreplace").decode()
        for letter in letters
    ]
    return "".join(spelled), error.end


codecs.register_error("spelled", _spelled)
