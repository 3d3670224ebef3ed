"""Weights of classifier-free guidance through one arm's whole evaluation."""

from dataclasses import replace

import pytest

from bench.arm import is_done, run_arm
from bench.check import check, make
from bench.config import Execution
from bench.record.specs import cfg
from bench.run.pace import evaluations

GUIDED = {
    "images": 640,
    "pool": 128,
    "batch": 64,
    "model_channels": 8,
    "channel_mult": [1],
    "reference_steps": 8,
    "trajectories": 16,
    "samples": 80,
    "nfe": [3, 5],
    "rhos": [7],
    "metrics": ["samples", "truncation"],
    "coupling": "lapjv:within_class=true",
    "conditional": True,
    "label_dropout": 0.2,
    "cfg": [1, 2],
}


def measured(config, runs):
    return run_arm(config, runs, Execution(device="cpu"), progress=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The run folder measured at weight 2, and again with weight 0 added."""
    config = make(None, GUIDED)
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.features.classifier.TRAINING_IMAGES", 12_800)
        first = measured(config, folder).measurements()
        more = check(replace(config, evaluation=replace(config.evaluation, cfg=(2.0, 0.0))))
        run = measured(more, folder)
    assert is_done(run, config)
    return first, run.measurements()


def places(rows, metric):
    return sorted({(row.guidance, row.nfe) for row in rows if row.metric == metric})


def test_each_weight_is_measured_at_the_same_steps(runs):
    first, both = runs
    plain = [("none", 3), ("none", 5)]
    twice = [(cfg(2), 6), (cfg(2), 10)]
    once = [(cfg(0), 3), (cfg(0), 5)]
    for metric in ("fd_classifier", "class_agreement_classifier", "class_distance_classifier"):
        assert places(first, metric) == [*twice, *plain]
        assert places(both, metric) == [*once, *twice, *plain]
    # The reference solves the equation without guidance.
    assert places(both, "truncation_error") == plain
    assert not places(both, "discriminator_passes")


def test_a_further_weight_measures_nothing_twice(runs):
    first, both = runs
    values = {row.key: row.value for row in both}
    # Seconds go on; all else stays as it was first measured.
    assert all(values[row.key] == row.value for row in first if row.metric != "evaluate_seconds")


def test_the_plan_foresees_the_price():
    plain = evaluations(make(None, {**GUIDED, "cfg": []}))
    guided = evaluations(make(None, {**GUIDED, "cfg": [0, 2]}))
    assert guided - plain == 80 * (3 + 5 + 6 + 10)
