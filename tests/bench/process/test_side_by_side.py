"""Jobs in processes of their own. They use the standard library only, which is quick to import."""

import multiprocessing
import os
import pty
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from bench.process.screen import Printed
from bench.process.side_by_side import Job, WorkerError, side_by_side
from bench.process.signals import EndSignals
from bench.record import UserError
from couplings import CouplingError

ROOT = Path(__file__).parents[3]


def do(actions, at_once=2, environment=(), end=None):
    """Do the jobs; the order of events and the error of each."""
    jobs = [Job(f"[{number}] ", action) for number, action in enumerate(actions)]
    events = []
    errors = {}

    def ended(number, error):
        events.append(("ended", number))
        errors[number] = error

    def began(number):
        events.append(("began", number))

    side_by_side(jobs, at_once, dict(environment), end or EndSignals(), began, ended)
    return events, [errors[number] for number in range(len(jobs))]


def test_jobs_begin_in_their_order_and_no_more_of_them_than_allowed_are_at_work():
    events, errors = do([partial(time.sleep, 0.1)] * 5)
    assert errors == [None] * 5
    assert [number for what, number in events if what == "began"] == list(range(5))
    at_work = 0
    most = 0
    for what, _ in events:
        at_work += 1 if what == "began" else -1
        most = max(most, at_work)
    assert most == 2


def test_output_carries_its_label_also_that_of_other_programs(capsys):
    actions = [partial(print, "a\nb"), partial(os.system, "echo threads $OMP_NUM_THREADS >&2")]
    do(actions, environment={"OMP_NUM_THREADS": "7"})
    out, err = capsys.readouterr()
    assert out == "[0] a\n[0] b\n"
    assert err == "[1] threads 7\n"


class Awkward(ValueError):
    """An error that pickle cannot build again."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def fail(kind):
    if kind == "awkward":
        raise Awkward("not", "portable")
    raise CouplingError("take a smaller pool")


def test_an_error_or_a_sudden_death_of_one_job_leaves_the_others_alone():
    kill = partial(signal.raise_signal, signal.SIGKILL)
    term = partial(signal.raise_signal, signal.SIGTERM)
    leave = partial(os._exit, 3)
    actions = [kill, partial(int, "x"), partial(print, end=""), term, leave]
    _, (killed, wrong, good, ended, left) = do(actions, at_once=5)
    assert type(wrong) is ValueError
    assert "invalid literal" in str(wrong)
    assert good is None
    for error, words in ((killed, "was killed"), (ended, "SIGTERM"), (left, "exit code 3")):
        assert isinstance(error, WorkerError | UserError)
        assert words in str(error)
        assert "run the same command to resume" in str(error)


def test_errors_keep_their_class_or_at_least_their_line():
    _, (coupling, awkward) = do([partial(fail, "coupling"), partial(fail, "awkward")])
    assert isinstance(coupling, CouplingError)
    assert str(coupling) == "take a smaller pool"
    assert type(awkward) is RuntimeError
    assert str(awkward) == "Awkward: not portable"


def test_an_error_of_the_caller_ends_all_processes():
    jobs = [Job("", partial(time.sleep, 0.1)), Job("", partial(time.sleep, 600))]

    def ended(number, error):
        raise KeyError(number)

    with pytest.raises(KeyError):
        side_by_side(jobs, 2, {}, EndSignals(), lambda number: None, ended)
    assert not multiprocessing.active_children()


def test_a_full_pipe_does_not_keep_a_process_from_ending(capsys):
    jobs = [Job("", partial(print, "x" * 10**6)), Job("", partial(print, "y" * 10**6))]

    def ended(number, error):
        raise KeyError(number)

    with pytest.raises(KeyError):
        side_by_side(jobs, 2, {}, EndSignals(), lambda number: None, ended)
    assert not multiprocessing.active_children()


CODE = """
import os, sys, time
from functools import partial
from bench.process.side_by_side import Job, side_by_side
from bench.process.signals import EndSignals
jobs = [Job("[1/2] ", partial(exec, sys.argv[1])), Job("[2/2] ", partial(exec, sys.argv[1]))]
side_by_side(jobs, 2, {}, EndSignals(), lambda number: None, lambda number, error: None)
"""


def test_processes_end_with_a_parent_that_was_killed():
    action = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    command = [sys.executable, "-c", CODE, action]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        pids = [parent.stdout.readline().split()[1] for _ in range(2)]
        assert all(Path("/proc", pid).exists() for pid in pids)
        parent.kill()
    deadline = time.monotonic() + 60
    while any(Path("/proc", pid).exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path("/proc", pid).exists() for pid in pids)


def test_a_terminal_shows_a_line_for_each_process_that_fits_its_width():
    action = """
import time
from tqdm import tqdm
bar = tqdm(total=10, desc="train", disable=None)
for _ in range(10):
    time.sleep(0.1)
    bar.update()
"""
    ours, theirs = pty.openpty()
    env = os.environ | {"COLUMNS": "70", "LINES": "20"}
    command = [sys.executable, "-c", CODE, action]
    process = subprocess.Popen(command, cwd=ROOT, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    text = b""
    # A terminal whose programs have ended gives an error in place of an end.
    try:
        while data := os.read(ours, 2**16):
            text += data
    except OSError:
        pass
    os.close(ours)
    assert process.wait(60) == 0
    drawn = text.decode().replace("\n", "\r").split("\r")
    for label in ("[1/2] train:", "[2/2] train:"):
        parts = [part for part in drawn if part.startswith(label)]
        assert any("50%" in part for part in parts) or len(parts) > 2, text
    assert max(map(len, drawn)) <= 70


def test_a_line_is_read_as_a_terminal_shows_it():
    printed = Printed("utf-8")
    assert printed.feed(b"\rtrain: 10%\rtrain: 20%") == []
    assert printed.unfinished == "train: 20%"
    assert printed.feed(b"\r          \rnote: Fr\xc3") == []
    assert printed.feed(b"\xa9chet\nnext") == ["note: Fréchet"]
    assert printed.unfinished == "next"
    assert printed.feed(b"\x1b[A\n\n") == ["next"]
    assert printed.unfinished == ""
