"""Long work in threads: the main one stays free to handle signals, and no thread delays the end of
the process.

Python runs signal handlers in the main thread between two of its own instructions, so a solver
written in C, called there, would keep a signal waiting until it is done. In another thread it
releases the interpreter, but it cannot be stopped there either: an ordinary exit would wait for it,
which ``end_process`` does not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import NoReturn, TypeVar

SLICE = 0.5  # seconds between two looks at what happened meanwhile
T = TypeVar("T")
_abandoned: list[Future] = []


def result(coming: Future[T], meanwhile: Callable[[], None] = lambda: None) -> T:
    """The result of work in another thread, or its error; ``meanwhile`` is called about every
    ``SLICE`` seconds.
    """
    while not wait([coming], SLICE).done:
        meanwhile()
    return coming.result()


def aside(action: Callable[[], T]) -> T:
    """The result of an action that may spend minutes in C code, done in a thread with as many
    threads of torch.
    """
    import torch

    # A new thread would start with torch's default number of threads, and sums depend on how they
    # are shared out.
    threads = ThreadPoolExecutor(1, "aside", torch.set_num_threads, (torch.get_num_threads(),))
    coming = threads.submit(action)
    try:
        return result(coming)
    finally:
        threads.shutdown(wait=False)
        abandon([coming])


def abandon(work: Iterable[Future]) -> None:
    """Give up whatever of this work is not done: the end of the process must not wait for it."""
    _abandoned.extend(coming for coming in work if not coming.done())


def end_process(code: int | str | None) -> NoReturn:
    """Exit as ``sys.exit`` does; at once where abandoned work is still running, which ``sys.exit``
    would wait for.
    """
    if all(coming.done() for coming in _abandoned):
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a closed pipe must not keep the process alive
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
