"""Measuring trained runs again, as the command does it."""

import dataclasses
import json
from collections import Counter

import pytest

from bench.arm import run_arm
from bench.config import ConfigError, Execution
from bench.evaluate import main, parse, trained
from bench.record import RunFolder

CPU = Execution(device="cpu")


@pytest.fixture
def folder(tiny, tmp_path) -> RunFolder:
    return run_arm(tiny, tmp_path, CPU, progress=False)


def settings(folder, metric="fd_classifier"):
    return Counter((m.nfe, m.rho, m.sampler, m.split, m.n) for m in folder.measurements() if m.metric == metric)


def test_rows_are_added_and_none_is_doubled_or_changed(folder, capsys):
    before = folder.measurements()
    assert main([str(folder), "--nfe", "5", "7", "--metrics", "samples", "--device", "cpu"]) == 0
    after = folder.measurements()
    assert len({m.key for m in after}) == len(after)
    same = {m.key: m.value for m in after}
    assert all(same[m.key] == m.value for m in before if m.metric != "evaluate_seconds")
    added = settings(folder) - Counter((m.nfe, m.rho, m.sampler, m.split, m.n) for m in before
                                       if m.metric == "fd_classifier")  # fmt: skip
    assert added == Counter((7, 7.0, "heun", split, 100) for split in ("train", "test"))
    assert "rows added" in capsys.readouterr().out
    assert folder.is_done()


def test_the_same_again_is_nothing_to_do(folder, monkeypatch):
    before = (folder.path / "metrics.jsonl").read_bytes()
    monkeypatch.setattr("bench.measure.sample", None)
    assert main([str(folder), "--device", "cpu"]) == 0
    assert (folder.path / "metrics.jsonl").read_bytes() == before


def test_what_the_run_was_measured_with_is_the_default(folder, tiny):
    assert parse([str(folder)]).evaluation == tiny.evaluation
    assert parse([str(folder), "--samples", "60"]).evaluation == dataclasses.replace(tiny.evaluation, samples=60)


def test_nothing_is_trained(folder, monkeypatch):
    monkeypatch.setattr("bench.train.Stepper.step", None, raising=False)
    weights = (folder.path / "checkpoint.pt").read_bytes()
    assert main([str(folder), "--rhos", "3", "9", "--grid-samples", "80", "--device", "cpu"]) == 0
    assert (folder.path / "checkpoint.pt").read_bytes() == weights
    assert settings(folder, "grid_fd_classifier").keys() >= {(5, rho, "heun", "train", 80) for rho in (3.0, 9.0)}


def test_euler_and_the_adaptive_solver_stand_beside_heun(folder):
    assert main([str(folder), "--samplers", "euler", "dopri5:tolerance=0.01", "--device", "cpu"]) == 0
    rows = [m for m in folder.measurements() if m.metric == "truncation_error"]
    assert {(m.nfe, m.rho) for m in rows if m.sampler == "euler"} == {(3, 7.0), (5, 7.0)}
    (adaptive,) = [m for m in rows if m.sampler == "dopri5:tolerance=0.01"]
    assert adaptive.rho is None
    assert adaptive.nfe > 6
    assert adaptive.value < min(m.value for m in rows if m.nfe == 5)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nowhere"], ["no run folder", "bench.run"]),
        (["RUN", "--sigma-max", "40"], ["--sigma-max", "another run"]),
        (["RUN", "--samplers", "heum"], ["heun"]),
        (["RUN", "--nfe", "4"], ["--nfe 4"]),
    ],
)
def test_refusals_are_one_line(folder, capsys, args, words):
    assert main([str(folder) if word == "RUN" else word for word in args]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in words)


def test_an_unfinished_or_renamed_run_is_refused(folder, tiny):
    moved = RunFolder(folder.path.rename(folder.path.with_name("mine")))
    with pytest.raises(ConfigError, match="give it back its name"):
        trained(moved, tiny.evaluation)
    (moved.path / "status.json").write_text(json.dumps({"state": "running", "stage": "training"}))
    with pytest.raises(ConfigError, match="not trained to its end"):
        trained(moved, tiny.evaluation)
