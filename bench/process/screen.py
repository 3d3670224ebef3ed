"""The output of several processes on one terminal: a line for each that is redrawn in place."""

from __future__ import annotations

import codecs
import re
import shutil
import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from bench.process.outlook import Minute

# Cursor movements of nested progress bars: each process has one line here.
_MOVES = re.compile(r"\x1b\[[0-9]*[A-Z]")


class Printed:
    """Bytes that a process prints, as lines and the text of its progress bar.

    Args:
        encoding: of the bytes.

    """

    def __init__(self, encoding: str):
        # A pipe may cut a letter of several bytes in two.
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._pending = ""

    def feed(self, data: bytes) -> list[str]:
        """The lines that these bytes complete."""
        text = self._pending + _MOVES.sub("", self._decoder.decode(data))
        *lines, rest = text.split("\n")
        # Redrawn many times a second: what was drawn over is forgotten.
        self._pending = _as_drawn(rest)
        return [line for line in map(_as_drawn, lines) if line]

    @property
    def unfinished(self) -> str:
        """The text after the last line break, such as a progress bar."""
        return self._pending


def _as_drawn(text: str) -> str:
    """A line as a terminal shows it: each carriage return starts it over."""
    drawn = [part for part in text.split("\r") if part.strip()]
    return drawn[-1].rstrip() if drawn else ""


class Screen:
    """Lines above, and below them one line for each process, if the output is a terminal.

    Args:
        slots: processes at once.

    """

    def __init__(self, slots: int):
        self._bars = []
        self._minute = Minute()
        # tqdm asks the terminal alone, and some tell it no size.
        rows = shutil.get_terminal_size().lines
        # The last line is that of all processes together.
        for slot in range(slots + 1):
            # tqdm moves the cursor; None hides the lines where the output is no terminal.
            bar = tqdm(
                bar_format="{desc}", position=slot, leave=False, disable=None, ncols=0, nrows=rows
            )
            self._bars.append(bar)

    def show(self, slot: int, text: str) -> None:
        """Redraw the line of a process."""
        # A longer line would wrap, and the cursor would miss it when it is drawn again.
        self._bars[slot].set_description_str(text[: columns() - 1])

    def show_total(self, text: str) -> None:
        """Show the line of all processes together; where there is no terminal, once a minute."""
        if self._bars[-1].disable:
            if text and self._minute.is_over():
                print(text, flush=True)
            return
        self.show(len(self._bars) - 1, text)

    def write(self, text: str, stream: TextIO) -> None:
        """Print a line above."""
        tqdm.write(text, file=stream)
        stream.flush()

    def printing(self) -> AbstractContextManager[None]:
        """A block in which others print lines above."""
        return tqdm.external_write_mode(sys.stderr)

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The lowest first, so that the cursor ends where it began.
        for bar in reversed(self._bars):
            bar.close()


def columns() -> int:
    """Width of the terminal, in letters."""
    return shutil.get_terminal_size().columns
