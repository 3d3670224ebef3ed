"""What a coupling did, from the training to the rows of a run."""

import dataclasses

import pytest
import torch

from bench import data, metrics
from bench.arm import run_arm
from bench.check import check
from bench.config import Execution
from bench.metrics.coupling_report import MOST_PAIRS, POOLS, optimality_gap
from bench.process.ranks import Ranks
from bench.record import RunFolder
from bench.record.infos import read_infos
from bench.training import loop
from bench.training.step import Stepper
from couplings import get

ALONE = Ranks(0, 1, "cpu")


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_the_gap_lies_between_the_optimum_and_random_pairs(digits):
    gaps = [
        optimality_gap(digits.train, get(spec), 64, seed=0)
        for spec in ("hungarian", "greedy", "random")
    ]
    assert gaps[0] == pytest.approx(0, abs=1e-9)
    assert 0.02 < gaps[1] < 0.9
    assert gaps[2] == pytest.approx(1, abs=0.2)


def measured(config, folder):
    evaluation = dataclasses.replace(
        config.evaluation, nfe=(3,), metrics=("coupling-report",), samples=20
    )
    config = check(dataclasses.replace(config, evaluation=evaluation))
    run = run_arm(config, folder, Execution(device="cpu"), progress=False)
    rows = {row.metric: row for row in run.measurements() if row.metric.startswith("coupling_")}
    return rows, read_infos(run.path)


def test_a_run_holds_what_its_coupling_reports(tiny, tmp_path):
    config = dataclasses.replace(tiny, coupling="sinkhorn:epsilon=0.5")
    rows, infos = measured(config, tmp_path)
    # 640 images in pools of 128
    means = ("entropy", "marginal_error", "iterations", "converged", "duplicates")
    assert {rows[f"coupling_{key}"].n for key in (*means, "noise_norm_drift")} == {5}
    assert 0 < rows["coupling_entropy"].value < 1
    assert rows["coupling_iterations"].value > 1
    assert rows["coupling_duplicates"].value == 0
    assert rows["coupling_optimality_gap"].n == POOLS
    assert 0 < rows["coupling_optimality_gap"].value < 1
    assert rows["coupling_images_most"].n == 640
    assert rows["coupling_images_most"].value <= 5
    # Not conditional, and nothing was fitted.
    assert "coupling_label_leakage" not in rows
    assert not any(name.startswith("coupling_fit") for name in rows)
    assert {infos[name].kind for name in rows} == {"cost", "signal"}
    assert all(infos[name].about for name in rows)


def test_a_fit_and_labels_are_reported_too(tiny, tmp_path):
    training = dataclasses.replace(tiny.training, conditional=True, label_blind=True)
    spec = "semidiscrete:max_chi2=1"
    config = dataclasses.replace(tiny, coupling=spec, training=training)
    rows, _ = measured(config, tmp_path)
    assert {"coupling_fit_chi2", "coupling_fit_steps", "coupling_fit_targets"} <= rows.keys()
    assert {"coupling_fit_seconds", "coupling_label_leakage"} <= rows.keys()
    # It permutes nothing.
    assert "coupling_optimality_gap" not in rows
    assert "coupling_seconds" not in rows


def test_a_coupling_that_follows_the_model_is_measured_with_the_trained_one(tiny, tmp_path):
    config = dataclasses.replace(tiny, coupling="model-aligned:warmup=0.3")
    rows, _ = measured(config, tmp_path)
    # Of 5 pools, two begin in the first three tenths of the training.
    assert rows["coupling_aligned"].value == pytest.approx(0.6)
    assert rows["coupling_model_error_before"].n == 3
    after = rows["coupling_model_error_after"].value
    assert after < rows["coupling_model_error_before"].value
    assert rows["coupling_optimality_gap"].n == POOLS


def test_large_pools_are_not_assigned(tiny, tmp_path, monkeypatch):
    training = dataclasses.replace(tiny.training, pool=MOST_PAIRS + 1)
    config = dataclasses.replace(tiny, coupling="random", training=training)
    rows, _ = measured(config, tmp_path)
    assert "coupling_optimality_gap" not in rows
    assert "coupling_duplicates" in rows


@pytest.mark.parametrize("coupling", ["sinkhorn:epsilon=0.5", "semidiscrete:max_chi2=1"])
def test_a_resumed_run_keeps_the_means(digits, tiny, tmp_path, monkeypatch, coupling):
    config = dataclasses.replace(tiny, coupling=coupling)
    whole = loop.train(config, digits, RunFolder(tmp_path / "whole"), ALONE, progress=False)

    class Stop(Exception):
        pass

    step = Stepper.__call__

    def stopping(self, pairs):
        if self.state.step == 5:
            raise Stop
        return step(self, pairs)

    folder = RunFolder(tmp_path / "stopped")
    often = {"progress": False, "check_every": 1, "checkpoint_seconds": 0.0}
    monkeypatch.setattr(Stepper, "__call__", stopping)
    with pytest.raises(Stop):
        loop.train(config, digits, folder, ALONE, **often)
    monkeypatch.setattr(Stepper, "__call__", step)
    resumed = loop.train(config, digits, folder, ALONE, **often)
    rows = loop.report_measurements(whole.cost)
    again = loop.report_measurements(resumed.cost)
    assert [row.key for row in again] == [row.key for row in rows]
    assert [row.value for row in again] == pytest.approx([row.value for row in rows])
    assert torch.equal(resumed.cost.uses, whole.cost.uses)


def test_a_key_of_a_users_coupling_is_described_by_its_name():
    name, info = metrics.owner("coupling_own_key")
    assert name == "coupling-report"
    assert info.about == "Mean over pools of own_key, as the coupling reports it."
    # Rows of the training keep their owner.
    assert metrics.owner("coupling_ms")[0] == "training-cost"
