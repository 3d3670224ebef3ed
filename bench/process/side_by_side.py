"""Jobs in processes of their own, several at once: their output, their errors, their end."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait

from tqdm import tqdm

from bench.process.background import SLICE, end_process
from bench.process.console import printer
from bench.process.screen import Printed, Screen, columns
from bench.process.signals import EndSignals
from bench.record import UserError, one_line

_PART = 2**16  # bytes that are read from a pipe at a time


class WorkerError(UserError):
    """A process ended without a result; the message names the way out."""


@dataclass(frozen=True)
class Job:
    """Work for a process of its own.

    Attributes:
        label: printed before each line of its output, ``[2/6] ``.
        action: the work; it is pickled.

    """

    label: str
    action: Callable[[], object]


@dataclass(frozen=True)
class _Terminal:
    """Properties of the parent's output that progress bars depend on."""

    is_terminal: bool
    encoding: str


def side_by_side(
    jobs: Sequence[Job],
    at_once: int,
    environment: Mapping[str, str],
    end: EndSignals,
    began: Callable[[int], None],
    ended: Callable[[int, Exception | None], None],
    total: Callable[[], str] = str,
) -> None:
    """Do jobs in processes of their own, in their order, some of them at the same time.

    On a signal that announces the end, on Ctrl-C and on an error of ``ended``, all processes are
    sent SIGTERM, at which a training saves its state, and are waited for. A second Ctrl-C kills
    them.

    Args:
        jobs: the work.
        at_once: processes at the same time.
        environment: variables for the processes, set before they import anything large.
        end: signals that announce the end; the caller's block raises them again.
        began: called with the number of a job, from 0, when its process starts.
        ended: called with the number and the error, or None, when its process has ended.
        total: words on all jobs, shown below their own lines.

    """
    waiting = deque(enumerate(jobs))
    workers: list[_Worker] = []
    with Screen(min(at_once, len(jobs))) as screen:
        try:
            while (waiting or workers) and end.noted is None:
                while waiting and len(workers) < at_once:
                    number, job = waiting.popleft()
                    with screen.printing():
                        began(number)
                    slot = _free_slot(workers)
                    workers.append(_Worker(number, slot, job, environment))
                for worker in _ended(workers, screen):
                    workers.remove(worker)
                    with screen.printing():
                        ended(worker.number, worker.error())
                screen.show_total(total())
        finally:
            _stop(workers, screen)


def _free_slot(workers: Sequence[_Worker]) -> int:
    taken = {worker.slot for worker in workers}
    return min(set(range(len(workers) + 1)) - taken)


def _ended(workers: Sequence[_Worker], screen: Screen) -> list[_Worker]:
    """Show what the processes print, for a moment; those that have ended meanwhile."""
    sources: list[Connection | int] = []
    for worker in workers:
        sources += worker.sources
    wait(sources, SLICE)
    # Asked before the last output is read, so that none of it is missed.
    over = [worker for worker in workers if not worker.process.is_alive()]
    for worker in workers:
        worker.show(screen)
    for worker in over:
        screen.show(worker.slot, "")
    return over


def _stop(workers: list[_Worker], screen: Screen) -> None:
    """Have all processes save and end, and wait for them."""
    for worker in workers:
        worker.process.terminate()
    try:
        # Their output is read meanwhile: a full pipe would keep them from ending.
        while workers:
            for worker in _ended(workers, screen):
                workers.remove(worker)
    except KeyboardInterrupt:
        for worker in workers:
            worker.process.kill()
        raise


class _Worker:
    """A process at work on a job.

    Args:
        number: of the job.
        slot: its line on the screen.
        job: the work.
        environment: variables for the process.

    """

    def __init__(self, number: int, slot: int, job: Job, environment: Mapping[str, str]):
        self.number = number
        self.slot = slot
        self.label = job.label
        terminal = _Terminal(sys.stderr.isatty(), sys.stderr.encoding or "utf-8")
        self._printed = {}
        # Forked processes would inherit locks and OpenMP pools in whatever state the threads of
        # this one hold them.
        context = multiprocessing.get_context("spawn")
        self._result, result = context.Pipe(duplex=False)
        output, its_output = context.Pipe(duplex=False)
        errors, its_errors = context.Pipe(duplex=False)
        for pipe, stream in ((output, sys.stdout), (errors, sys.stderr)):
            self._printed[pipe] = (Printed(terminal.encoding), stream)
        variables = {**environment, **_size(len(job.label))}
        self.process = context.Process(
            target=_work, args=(job.action, result, its_output, its_errors, variables, terminal)
        )
        self.process.start()
        # Only the process must hold these ends, or its pipes would never end.
        for pipe in (result, its_output, its_errors):
            pipe.close()
        self._received: list[Exception | None] = []
        self._is_open = dict.fromkeys([self._result, output, errors], True)

    @property
    def sources(self) -> list[Connection | int]:
        """The pipes that may still bring something, and the end of the process."""
        pipes = [pipe for pipe, is_open in self._is_open.items() if is_open]
        return [self.process.sentinel, *pipes]

    def show(self, screen: Screen) -> None:
        """Show what the process has printed, and take its result."""
        while self._is_open[self._result] and self._result.poll():
            try:
                self._received.append(self._result.recv())
            except EOFError:
                self._is_open[self._result] = False
        for pipe, (printed, stream) in self._printed.items():
            while self._is_open[pipe] and pipe.poll():
                data = os.read(pipe.fileno(), _PART)
                self._is_open[pipe] = bool(data)
                for line in printed.feed(data):
                    screen.write(self.label + line, stream)
            if printed.unfinished:
                screen.show(self.slot, self.label + printed.unfinished)

    def error(self) -> Exception | None:
        """The error of a process that has ended, None without one."""
        if self._received:
            return self._received[0]
        code = self.process.exitcode or 0
        if code >= 0:
            how = f"ended with exit code {code}"
        elif -code == signal.SIGKILL:
            how = "was killed, most likely for lack of memory (a smaller --parallel takes less)"
        else:
            how = f"was ended by {signal.Signals(-code).name}"
        return WorkerError(f"its process {how}; run the same command to resume")


def _size(taken: int) -> dict[str, str]:
    """Variables that tell a progress bar its width: ``taken`` letters before it are not its own."""
    return {"COLUMNS": str(max(20, columns() - taken)), "LINES": "2"}


def _work(
    action: Callable[[], object],
    result: Connection,
    output: Connection,
    errors: Connection,
    environment: Mapping[str, str],
    terminal: _Terminal,
) -> None:
    """Do a job in this process, which is its own."""
    # Before torch is imported, which reads the number of threads once.
    os.environ.update(environment)
    # Its own lock is a semaphore of the system, of which a process that a signal ends would leave
    # a complaint about a leak.
    tqdm.set_lock(threading.RLock())
    # Ctrl-C reaches all processes; the parent ends this one by a signal that saves the state.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Also for what libraries in C print.
    os.dup2(output.fileno(), 1)
    os.dup2(errors.fileno(), 2)
    make = partial(printer, encoding=terminal.encoding, is_terminal=terminal.is_terminal)
    sys.stdout = make(1)
    sys.stderr = make(2)
    error: Exception | None = None
    try:
        action()
    except Exception as caught:  # noqa: BLE001 - the parent decides about it
        error = _portable(caught)
    result.send(error)
    # Without waiting for threads at work that a failed job has given up.
    end_process(0)


def _end_with_parent() -> None:
    # A parent that was killed cannot stop its processes: as on a signal, the state is saved.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _portable(error: Exception) -> Exception:
    """The error, or one with the same line if another process could not rebuild it."""
    try:
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own bytes
    except Exception:  # noqa: BLE001 - any error of the error's own code
        again = None
    if type(again) is type(error) and str(again) == str(error):
        return error
    return RuntimeError(one_line(error))
