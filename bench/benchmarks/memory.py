"""Peak memory of one solve, in a new process: memory that an earlier contender left does not
count.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from bench.benchmarks.contenders import attempt, contender
from bench.benchmarks.pools import Pools

_FEW = 16  # images enough to load a solver's library


@dataclass(frozen=True)
class Probe:
    """Result of one solve in a new process.

    Attributes:
        seconds: its time, or the limit if it was stopped.
        peak_mb: the most memory it held in addition to the pool, in MB; None without Linux and
            glibc.
        problem: one line if it was stopped or raised, else empty.

    """

    seconds: float
    peak_mb: float | None = None
    problem: str = ""


def probe(pools: Pools, name: str, n: int, limit: float) -> Probe:
    """Solve the first pool of n once in a new process, for ``limit`` seconds at most.

    Args:
        pools: the source of the pool.
        name: of the contender.
        n: images in the pool.
        limit: seconds, from when the libraries are loaded.

    """
    # Forked, it would begin with the memory and the locks of this process.
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(send, pools, name, n), daemon=True)
    process.start()
    send.close()
    try:
        receive.recv()  # libraries are loaded, the solve begins
        if receive.poll(limit):
            return receive.recv()
        return Probe(limit, problem=f"stopped: the first solve took over the limit of {limit:g} s")
    except EOFError:
        process.join()
        cause = "see its message above"
        if process.exitcode == -signal.SIGKILL:  # as the kernel ends a process without memory
            cause = "most likely for want of memory"
        return Probe(limit, problem=f"its process died (exit code {process.exitcode}), {cause}")
    finally:
        process.kill()
        process.join()


def _child(send: Connection, pools: Pools, name: str, n: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    entrant = contender(name)
    # A first, small solve loads and compiles: neither its time nor its memory is to be measured.
    attempt(entrant.solve, pools.draw(min(n, _FEW), 0))
    pool = pools.draw(n, 0)
    send.send("ready")
    before = reset_peak()
    seconds, _, problem = attempt(entrant.solve, pool)
    peak_mb = None
    if before is not None and not problem:
        peak_mb = (status("VmHWM") - before) / 1e6
    send.send(Probe(seconds, peak_mb, problem))


def reset_peak() -> int | None:
    """Bring the peak down to the memory held now, and return that, in bytes.

    None if the system cannot. glibc must first give back what was freed, or the solve would reuse
    it unseen. getrusage's maximum would not do: it cannot be reset, and a new process inherits its
    parent's.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        return status("VmRSS")
    except (OSError, AttributeError):
        return None


def status(key: str) -> int:
    """A size in /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if line.startswith(f"{key}:"))
    return 1024 * int(line.split()[1])
