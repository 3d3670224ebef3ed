import pickle
from pathlib import Path

import pytest
import torch

from bench import arm
from bench.config import Execution, make
from slurm.job import RunTask


@pytest.fixture
def threads():
    """Put torch's number of threads back afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def task():
    return RunTask(make(None, {"seed": 3}), Path("/runs"), Path("/data"), "cpu", threads=1)


def test_task_survives_pickling_and_is_small():
    content = pickle.dumps(task())
    assert pickle.loads(content) == task()
    assert len(content) < 10_000


def test_task_does_its_run_with_its_threads(monkeypatch, threads):
    calls = []
    monkeypatch.setattr(arm, "run_arm", lambda *args: calls.append((args, torch.get_num_threads())))
    torch.set_num_threads(2)
    task()()
    assert calls == [((task().config, Path("/runs"), Execution(device="cpu"), Path("/data")), 1)]


def test_preemption_resubmits_the_same_task(monkeypatch, threads):
    calls = []
    monkeypatch.setattr(arm, "run_arm", lambda *args: calls.append(args))
    delayed = task().checkpoint()
    assert delayed.function == task()
    delayed.result()
    assert len(calls) == 1
