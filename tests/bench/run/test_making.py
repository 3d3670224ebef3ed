"""Several runs at once, through the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from bench.record import RunFolder
from bench.run import main

ROOT = Path(__file__).parents[3]
COMMAND = """
import signal
from bench.process.background import end_process
from bench.process.console import worker
from bench.run import main

if __name__ == "__main__":
    # A shell that starts the tests in the background has them ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end_process(worker(main))
"""
PLUGIN = """
import os
from dataclasses import dataclass
from pathlib import Path

from bench.features import classifier
from couplings.contract import Coupling, Pairing
import torch

HERE = Path(__file__).parent
classifier.TRAINING_IMAGES = 12_800
train_and_save = classifier._train_and_save


def counted(*args):
    with (HERE / "trained").open("a") as file:
        file.write("once\\n")
    train_and_save(*args)


classifier._train_and_save = counted
load = classifier.load


@dataclass(frozen=True, kw_only=True)
class Plugin(Coupling):
    exact_noise_marginal = True

    def solve(self, pool):
        self.act(len(pool.images))
        return Pairing(torch.arange(len(pool.images)))
"""
ACTIONS = {
    "failing": "raise KeyError('no such pair')",
    "killed": """
        if n > 2 and not (HERE / "was-killed").exists():
            (HERE / "was-killed").touch()
            os.kill(os.getpid(), 9)
""",
    # Pools are coupled one ahead, so steps have been made by the fourth.
    "working": """
        path = HERE / f"pools-{os.getpid()}"
        with path.open("a") as file:
            file.write(".")
""",
}


@pytest.fixture
def start(tmp_path, tiny_flags):
    """Start the command with the plug-ins of this file, ``mine.NAME``."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "counted.py").write_text(PLUGIN)
    for name, action in ACTIONS.items():
        text = PLUGIN.replace("Plugin", name.capitalize())
        (mine / f"{name}.py").write_text(
            f"{text}\n    def act(self, n):\n        {action.strip()}\n"
        )
    (tmp_path / "tmp").mkdir()
    paths = os.pathsep.join([str(ROOT), str(tmp_path)])
    env = os.environ | {"PYTHONPATH": paths, "TMPDIR": str(tmp_path / "tmp")}

    def call(*words):
        command = [sys.executable, "-c", COMMAND, *tiny_flags, "--metrics", "samples", *words]
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return call


def values(runs):
    """All rows without those that are times."""
    rows = pd.read_csv(runs / "results.csv")
    return rows[~rows["metric"].str.contains("second|_ms|_share|images_per_s")]


def test_the_numbers_are_those_of_one_run_after_the_other_and_shared_work_is_done_once(
    start, tmp_path
):
    for parallel in ("1", "2"):
        words = ["--parallel", parallel, "--features", "mine.counted", "pixels"]
        process = start(*words, "--runs", f"runs-{parallel}")
        out, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        assert (tmp_path / "mine" / "trained").read_text() == "once\n" * int(parallel)
        for path in (tmp_path / f"runs-{parallel}").glob("digits-*"):
            origin = RunFolder(path).provenance()
            assert origin["parallel"] == int(parallel)
            assert origin["hardware"]["threads"] == 1
            assert origin["command"].endswith(f"--runs runs-{parallel}")
    assert out.count(": done") == 2
    assert "2 of 2 runs at once (--parallel), 1 thread each" in out
    one, two = (values(tmp_path / f"runs-{parallel}") for parallel in ("1", "2"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    # Nothing is left of the file that the processes read the data from.
    assert not list((tmp_path / "tmp").glob("ot-bench-*"))


def test_a_run_that_fails_or_is_killed_leaves_the_others_alone_and_resumes(start, tmp_path):
    words = ["--coupling", "mine.failing", "mine.killed", "--features", "pixels", "--parallel", "3"]
    process = start(*words)
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 1
    (failed,) = [line for line in errors.splitlines() if "KeyError" in line]
    assert failed.startswith("error: digits-mine.failing-")
    assert "traceback.txt" in failed
    (killed,) = [line for line in errors.splitlines() if "was killed" in line]
    assert killed.startswith("error: digits-mine.killed-")
    assert "same command to resume" in killed
    assert "Traceback" not in errors
    assert out.count(": done") == 1
    process = start("--coupling", "mine.killed", *words[3:])
    out, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (0, "")
    assert out.count(": already done") == out.count(": done") == 1


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_runs_with_their_steps_saved(start, tmp_path, sent):
    words = ["--images", "10000000", "--features", "pixels", "--no-baseline", "--parallel", "2"]
    process = start("--coupling", "mine.working", "--seeds", "2", *words)
    marks = []
    deadline = time.monotonic() + 300
    while len(marks) < 2 and time.monotonic() < deadline and process.poll() is None:
        marks = [path for path in tmp_path.glob("mine/pools-*") if path.stat().st_size > 4]
        time.sleep(0.05)
    # To the command alone: it passes the signal on.
    process.send_signal(sent)
    _, errors = process.communicate(timeout=300)
    stopped_by_user = sent == signal.SIGINT
    assert process.returncode == (130 if stopped_by_user else -sent), errors
    line = "stopped; run the same command to resume: a training continues from its last checkpoint"
    assert errors == (f"{line}, usually at most 15 s back\n" if stopped_by_user else "")
    assert len(marks) == 2
    for mark in marks:
        assert not Path("/proc", mark.name.removeprefix("pools-")).exists()
    checkpoints = list(tmp_path.glob("runs/digits-*/checkpoint.pt"))
    assert len(checkpoints) == 2
    for path in checkpoints:
        assert torch.load(path, weights_only=True)["step"] > 0
        assert json.loads((path.parent / "status.json").read_text())["state"] == "stopped"
        with RunFolder(path.parent).lock():
            pass
    assert not list((tmp_path / "tmp").glob("ot-bench-*"))


def test_numbers_of_runs_at_once_that_make_no_sense_are_refused(capsys, tmp_path):
    assert main(["--parallel", "0", "--runs", str(tmp_path)]) == 2
    assert "--parallel 0" in capsys.readouterr().err
