"""Processes of their own: one is spawned for the peak as in earnest, the others are forked, which
is quick.
"""

import multiprocessing
import os
import signal
import time

import pytest

from bench.benchmarks import memory
from bench.benchmarks.memory import Probe, probe
from bench.benchmarks.pools import Pools

POOLS = Pools("gauss", None, 0)
# A test before these may have imported jax, which warns of every fork; nothing here calls it in the
# child.
pytestmark = pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")


@pytest.fixture
def forked(monkeypatch):
    """Children that know of the test's patches."""
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(memory.multiprocessing, "get_context", lambda kind: fork)


def test_the_peak_is_that_of_the_solve_alone():
    n = 1500
    found = probe(POOLS, "matrix product", n, limit=60)
    assert found.problem == ""
    assert found.seconds > 0
    # The matrix, float32, and neither the pool (37 MB) nor torch (200 MB); BLAS takes some buffers
    # besides.
    assert 9.0 <= found.peak_mb < 25


def test_a_contender_that_raises_has_no_peak_but_a_message(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    receive, send = multiprocessing.Pipe(duplex=False)
    memory._child(send, POOLS, "sinkhorn:max_iterations=1", 64)
    assert receive.recv() == "ready"
    found = receive.recv()
    assert found.peak_mb is None
    assert "raise epsilon or max_iterations" in found.problem


def test_what_takes_longer_than_the_limit_is_stopped(monkeypatch, forked):
    def sleeps(send, pools, name, n):
        send.send("ready")
        time.sleep(60)

    monkeypatch.setattr(memory, "_child", sleeps)
    start = time.perf_counter()
    assert probe(POOLS, "random", 8, limit=0.2) == Probe(
        0.2, None, "stopped: the first solve took over the limit of 0.2 s"
    )
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (lambda: os._exit(7), "its process died (exit code 7), see its message above"),
        (
            lambda: os.kill(os.getpid(), signal.SIGKILL),
            "exit code -9), most likely for want of memory",
        ),
    ],
)
def test_a_dead_process_is_told_and_not_waited_for(monkeypatch, forked, end, words):
    monkeypatch.setattr(memory, "_child", lambda *_: end())
    found = probe(POOLS, "random", 8, limit=30)
    assert found.peak_mb is None
    assert words in found.problem
