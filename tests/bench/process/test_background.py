import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

from bench.process import background
from bench.process.background import aside, result


def test_what_happens_meanwhile_is_looked_at_while_work_is_waited_for(monkeypatch):
    monkeypatch.setattr(background, "SLICE", 0.01)
    release, looks = threading.Event(), []

    def look():
        looks.append(None)
        if len(looks) == 3:
            release.set()

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as threads:
        assert result(threads.submit(release.wait), look) is True
    assert len(looks) == 3


def test_work_aside_has_the_threads_of_torch_and_raises_its_own_errors():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    assert aside(torch.get_num_threads) == 1
    torch.set_num_threads(before)

    def fail():
        raise TimeoutError("of the work itself")

    with pytest.raises(TimeoutError, match="of the work itself"):
        aside(fail)


# The C code that cannot be stopped is a sleep that only ends with the process.
STUCK = """
import ctypes, os, signal, sys, threading
from bench.process.background import aside, end_process

def work():
    print("begun", flush=True)
    ctypes.CDLL(None).sleep(600)

# A shell that starts a job in the background has it ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.argv[1] == "TERM":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
try:
    aside(work)
except KeyboardInterrupt:
    end_process(130)
except SystemExit as leaving:
    end_process(leaving.code)
"""


@pytest.mark.parametrize(("name", "code"), [("INT", 130), ("TERM", 143)])
def test_a_signal_ends_the_process_while_c_code_is_at_work(name, code):
    with subprocess.Popen(
        [sys.executable, "-c", STUCK, name], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "begun\n"
        os.kill(process.pid, getattr(signal, f"SIG{name}"))
        try:
            assert process.wait(60) == code
        finally:
            process.kill()
