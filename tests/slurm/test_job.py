import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import arm
from bench.check import make
from bench.config import Execution
from slurm.entry import Entry
from slurm.executor import tasks_of
from slurm.folder import SweepFolder
from slurm.job import ReportTask, RunTask
from slurm.resources import check_resources

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def process():
    """Put back torch's number of threads and the signal handlers, which a job sets for its own
    process.
    """
    threads = torch.get_num_threads()
    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    }
    yield
    torch.set_num_threads(threads)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def folder(tmp_path):
    return SweepFolder(tmp_path, "study")


@pytest.fixture
def task(folder):
    config = make(None, {"seed": 3})
    return RunTask(config, folder.runs_dir, Path("/data"), "cpu", 1, 1, folder.path / "attempts")


def test_task_survives_pickling_and_is_small(task):
    content = pickle.dumps(task)
    assert pickle.loads(content) == task
    assert len(content) < 10_000


def test_task_does_its_run_with_its_threads_and_says_so(monkeypatch, task, folder):
    calls = []

    def run_arm(*args):
        calls.append((args, torch.get_num_threads(), folder.attempt(task.config.run_id)["state"]))

    monkeypatch.setattr(arm, "run_arm", run_arm)
    torch.set_num_threads(2)
    task()
    arguments = (task.config, task.runs_dir, Execution(device="cpu"), Path("/data"))
    assert calls == [(arguments, 1, "running")]
    assert folder.attempt(task.config.run_id)["state"] == "done"


def test_task_runs_as_its_resources_say(monkeypatch, folder):
    use = check_resources({"gpus": 2, "micro_batch": 16, "compile": True})
    config = make(None, {"seed": 3})
    (task,) = tasks_of((Entry(config.run_id, "", config, use),), folder, None)
    calls = []
    monkeypatch.setattr(arm, "run_arm", lambda *args: calls.append(args))
    replace(task, processes=1)()
    assert calls[0][2] == Execution(device="cuda", micro_batch=16, compile=True)


def test_a_run_of_one_process_waits_for_no_other(monkeypatch, task):
    """Variables of the shell, or of an interactive job around it, do not matter."""
    from bench.process.ranks import join

    left = {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": "1",
        "LOCAL_RANK": "0",
    }
    for name, value in {**left, "SLURM_NTASKS": "4", "SLURM_PROCID": "3", "PMI_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    seen = []
    monkeypatch.setattr(arm, "run_arm", lambda *args: seen.append(join("cpu").count))
    task()
    assert seen == [1]


def test_a_failure_is_recorded_and_raised(monkeypatch, task, folder):
    def run_arm(*args):
        raise ValueError("out of luck")

    monkeypatch.setattr(arm, "run_arm", run_arm)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    with pytest.raises(ValueError, match="out of luck"):
        task()
    said = folder.attempt(task.config.run_id)
    assert (said["state"], said["reason"], said["restarts"]) == ("failed", "out of luck", 2)


def test_a_note_that_cannot_be_written_does_not_hide_the_error(monkeypatch, task, folder, capsys):
    folder.path.mkdir(parents=True)
    (folder.path / "attempts").write_text("in the way")

    def run_arm(*args):
        raise ValueError("out of luck")

    monkeypatch.setattr(arm, "run_arm", run_arm)
    with pytest.raises(ValueError, match="out of luck"):
        task()
    assert "warning: cannot write to" in capsys.readouterr().err


def test_preemption_resubmits_the_same_task(monkeypatch, task):
    calls = []
    monkeypatch.setattr(arm, "run_arm", lambda *args: calls.append(args))
    delayed = task.checkpoint()
    assert delayed.function == task
    delayed.result()
    assert len(calls) == 1


@pytest.mark.parametrize("sent", [signal.SIGUSR1, signal.SIGUSR2])
def test_either_user_signal_queues_the_job_again(monkeypatch, task, sent):
    heard = []
    signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    monkeypatch.setattr(arm, "run_arm", lambda *args: signal.raise_signal(sent))
    task()
    assert heard == [sent]


def test_a_term_leaves_and_is_no_failure(monkeypatch, task, folder):
    monkeypatch.setattr(arm, "run_arm", lambda *args: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit) as left:
        task()
    assert left.value.code == 128 + signal.SIGTERM
    assert folder.attempt(task.config.run_id)["state"] == "running"


_MEMBER = """
import sys
from pathlib import Path
from bench import arm
from bench.check import make
from bench.process.ranks import join
from slurm.job import RunTask

def run_arm(config, runs_dir, execution, data_dir):
    ranks = join(execution.device)
    words = [None] * ranks.count
    import torch
    torch.distributed.all_gather_object(words, ranks.rank)
    print(ranks.rank, words)

arm.run_arm = run_arm
RunTask(make(None, {}), Path(sys.argv[1]), None, "cpu", 1, 2, Path(sys.argv[1]))()
"""


def test_processes_of_a_run_find_one_another_by_slurms_variables(tmp_path):
    def start(rank):
        place = {
            "SUBMITIT_EXECUTOR": "slurm",
            "SLURM_JOB_ID": "4242",
            "SLURM_NTASKS": "2",
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank),
            "SLURM_NODEID": "0",
            "SLURM_JOB_NODELIST": "localhost",
        }
        env = {**os.environ, **place, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", _MEMBER, str(tmp_path)]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, cwd=tmp_path)

    members = [start(rank) for rank in range(2)]
    outputs = [member.communicate(timeout=120)[0].strip() for member in members]
    assert outputs == ["0 [0, 1]", "1 [0, 1]"]
    assert len(list(tmp_path.glob("*.json"))) == 1  # the first alone writes


def test_the_report_is_of_the_sweeps_runs_alone(monkeypatch, folder):
    for name in ("ours-1", "ours-2", "other"):
        (folder.runs_dir / name).mkdir(parents=True)
    folder.path.mkdir(parents=True)
    seen = []

    def run(command, check):
        seen.append((command[1:], sorted(path.name for path in Path(command[4]).iterdir())))

    monkeypatch.setattr(subprocess, "run", run)
    ReportTask(folder.runs_dir, ("ours-1", "ours-2", "ours-3"), folder.path)()
    ReportTask(folder.runs_dir, ("ours-2",), folder.path)()
    command = [
        "-m",
        "ot_couplings",
        "report",
        str(folder.path / "runs"),
        "--mixed",
        "--out",
        str(folder.path),
    ]
    assert seen == [(command, ["ours-1", "ours-2"]), (command, ["ours-2"])]
