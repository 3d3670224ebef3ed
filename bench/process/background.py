"""Long work in threads, so that the main thread can handle signals and the process can end.

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

SLICE = 0.5  # seconds between two calls of ``meanwhile``
T = TypeVar("T")
_abandoned: list[Future] = []


def result(coming: Future[T], meanwhile: Callable[[], None] | None = None) -> T:
    """The result of work in another thread, or its error.

    Args:
        coming: the work.
        meanwhile: called about every ``SLICE`` seconds, so that the caller can save and leave.

    """
    # In slices: a wait without a limit would keep signals waiting too.
    while not wait([coming], SLICE).done:
        if meanwhile is not None:
            meanwhile()
    return coming.result()


def aside(action: Callable[[], T]) -> T:
    """The result of an action that may spend minutes in C code, done in another thread."""
    import torch

    # A new thread would start with torch's default number of threads, and sums depend on how they
    # are shared out.
    threads = ThreadPoolExecutor(1, "aside", torch.set_num_threads, (torch.get_num_threads(),))
    # Made before the work begins: a signal may arrive while `submit` has started the thread and not
    # yet returned, and the exit would then wait for work that nobody had given up.
    coming: Future[T] = Future()

    def work() -> None:
        try:
            coming.set_result(action())
        except BaseException as error:  # noqa: BLE001 - the waiting thread raises it
            coming.set_exception(error)

    try:
        threads.submit(work)
        return result(coming)
    finally:
        threads.shutdown(wait=False)
        abandon([coming])


def abandon(work: Iterable[Future]) -> None:
    """Give up whatever of this work is not done: the end of the process must not wait for it."""
    _abandoned.extend(coming for coming in work if not coming.done())


def end_process(code: int | str | None) -> NoReturn:
    """Exit as ``sys.exit`` does, but without waiting for abandoned work."""
    if all(coming.done() for coming in _abandoned):
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a closed pipe must not keep the process alive
            stream.flush()
    # Skips the clean-up of the interpreter, which would join all threads.
    os._exit(code if isinstance(code, int) else int(code is not None))
