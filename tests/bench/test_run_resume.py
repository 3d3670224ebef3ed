"""Work that is not done twice: stopped and reused trainings."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import data
from bench.check import make
from bench.record import RunFolder, write_json
from bench.run import main
from bench.training.checkpoints import save_checkpoint
from bench.training.reuse import reuse_training
from bench.training.state import new_state

ROOT = Path(__file__).parents[2]
CHILD = """
import sys
from functools import partial
from pathlib import Path
from bench.training import loop as train
from bench.check import make
from bench.features import classifier
from bench.arm import run_arm
from bench.config import Execution
train.train = partial(train.train, check_every=5, checkpoint_seconds=0.0)
classifier.TRAINING_IMAGES = 12_800
overrides = {overrides!r}
run_arm(make(None, overrides), Path(sys.argv[1]), Execution(device="cpu"), progress=False)
"""


def start(runs: Path, overrides: dict) -> subprocess.Popen:
    code = CHILD.format(overrides=overrides)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(runs)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


FULL = {
    "augment": 0.3,
    "dropout": 0.1,
    "ema_halflife": 1000,
    "lr_ramp": 2000,
    "conditional": True,
    "coupling": "lapjv:within_class=true",
}


@pytest.mark.parametrize("more", [{}, FULL], ids=["plain", "full"])
def test_kill_9_in_mid_training_and_the_same_command_again_give_the_same_weights(
    tmp_path, tiny_overrides, more
):
    # What is measured does not matter here.
    little = {"metrics": ["truncation"], "rhos": [], "features": ["pixels"]}
    overrides = {**tiny_overrides, "images": 3840, **little, **more}
    config = make(None, overrides)
    killed = start(tmp_path / "killed", overrides)
    checkpoint = tmp_path / "killed" / config.run_id / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline and killed.poll() is None:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert torch.load(checkpoint, weights_only=True)["step"] < 60, (
        "killed too late to mean anything"
    )
    for runs in ("killed", "whole"):
        process = start(tmp_path / runs, overrides)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    results = [
        torch.load(tmp_path / r / config.run_id / "checkpoint.pt", weights_only=True)
        for r in ("killed", "whole")
    ]
    for part in ("net", "ema"):
        for name, tensor in results[0][part].items():
            assert torch.equal(tensor, results[1][part][name]), name
    assert results[0]["step"] == results[1]["step"] == 60


def test_a_training_is_reused_where_only_the_evaluation_makes_another_run(
    tmp_path, tiny_flags, capsys, monkeypatch
):
    flags = [
        "--no-baseline",
        "--coupling",
        "lapjv",
        "--runs",
        str(tmp_path),
        *tiny_flags,
        "--metrics",
        "truncation",
    ]
    assert main(flags) == 0
    (first,) = [RunFolder(path.parent) for path in tmp_path.glob("*/config.json")]

    def never(*_):
        raise AssertionError("a finished training must not be repeated")

    capsys.readouterr()
    monkeypatch.setattr("bench.training.loop._run_steps", never)
    assert main([*flags, "--reference-steps", "10", "--sigma-max", "40"]) == 0
    assert f"training reused from {first.run_id}" in capsys.readouterr().out
    (second,) = [
        RunFolder(path.parent)
        for path in tmp_path.glob("*/config.json")
        if path.parent != first.path
    ]
    assert second.provenance()["trained_in"] == first.run_id
    assert (second.path / "checkpoint.pt").read_bytes() == (
        first.path / "checkpoint.pt"
    ).read_bytes()
    same = ("train_seconds", "transport_cost", "images_per_s")
    kept = [
        {m.metric: m.value for m in run.measurements() if m.metric in same}
        for run in (first, second)
    ]
    assert kept[0] == kept[1]
    assert len(kept[0]) == len(same)
    # A third one names the run that was trained, not the one that it copied from.
    (first.path / "checkpoint.pt").unlink()
    assert main([*flags, "--reference-steps", "12"]) == 0
    assert f"training reused from {first.run_id}" in capsys.readouterr().out


def test_other_trainings_and_unfinished_ones_are_not_reused(tmp_path, tiny):
    digits = data.load("digits")
    other = RunFolder(tmp_path / "other")
    write_json(other.path / "config.json", tiny.identity)
    state = new_state(tiny, digits, "cpu")
    state.step = 10

    def reused(config=tiny, checksum=digits.checksum, steps=10):
        write_json(other.path / "provenance.json", {"data_checksum": checksum})
        save_checkpoint(other, state)
        found = reuse_training(config, RunFolder(tmp_path / "own"), digits, steps)
        (tmp_path / "own" / "checkpoint.pt").unlink(missing_ok=True)
        return found is not None

    assert reused()
    assert not reused(steps=11)
    assert not reused(checksum="of other images")
    assert not reused(replace(tiny, seed=1))
    assert not reused(replace(tiny, training=replace(tiny.training, lr=0.5)))
    assert not reused(replace(tiny, checkpoint="0" * 64))
    (tmp_path / "own" / "checkpoint-previous.pt").write_bytes(b"of its own training")
    assert not reused()
