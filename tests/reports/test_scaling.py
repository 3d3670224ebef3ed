import pytest

from bench.record import Measurement
from reports.scaling import CUT, pareto, pools, training_seconds
from reports.tables import groups, read_runs

PLACE = {"rho": 7.0, "sampler": "heun", "start": "gaussian", "guidance": "none", "split": "test", "n": 2000}


def run_of(seconds, fit, values):
    found = [Measurement("train_seconds", seconds), *([Measurement("coupling_fit_seconds", fit)] if fit else [])]
    return found + [Measurement("fd_classifier", value, nfe=nfe, **PLACE) for nfe, value in values.items()]


def test_quality_against_the_seconds_of_training_and_fit(tmp_path, make):
    for seed in range(2):
        make(tmp_path, "random", seed, found=run_of(100 + 100 * seed, 0, {5: 9.0, 12: 4.0, 35: 1.0}))
        make(tmp_path, "lapjv", seed, found=run_of(150 + 150 * seed, 0, {5: 9.0, 12: 5.0, 35: 1.0}))
        make(tmp_path, "semidiscrete", seed, found=run_of(100, 20 + 180 * seed, {5: 9.0, 12: 3.0, 35: 1.0}))
    (group,) = groups(read_runs(tmp_path))
    found = pareto(group.rows, group.panels)
    assert found.title == "fd_classifier, test, NFE 12"
    assert {p.arm: (p.times.mean, p.distance.mean, p.front) for p in found.points} == {
        "random": (1.0, 4.0, True),
        "lapjv": (1.5, 5.0, False),
        "semidiscrete": (pytest.approx(1.35), 3.0, True),
    }
    assert training_seconds(group.rows)["semidiscrete"].values == {0: 120.0, 1: 300.0}


def test_one_arm_or_no_random_arm_is_no_comparison(tmp_path, make):
    make(tmp_path, "lapjv", found=run_of(1, 0, {5: 9.0}))
    (group,) = groups(read_runs(tmp_path))
    assert pareto(group.rows, group.panels) is None


def test_pools_side_by_side(tmp_path, make):
    for pool, cost in ((64, 0.9), (256, 0.8), (1024, 0.6)):
        for arm, times in (("random", 1.0), ("lapjv", cost)):
            values = {"transport_cost": 50 * times, "transport_cost_independent": 50.0, "curvature_fm": times / 10}
            make(tmp_path, arm, pool=pool, images=1024 * 64, found=[Measurement(m, v) for m, v in values.items()])
    (found,) = pools(read_runs(tmp_path))
    assert (found.title, found.pools) == ("digits", [64, 256, 1024])
    assert {p: c.mean for p, c in found.measured[CUT]["lapjv"].items()} == pytest.approx({64: 0.1, 256: 0.2, 1024: 0.4})
    assert list(found.measured["curvature_fm"]) == ["random", "lapjv"]
    assert [chart.title for chart in found.charts] == [CUT, "curvature_fm"]


def test_pools_that_are_not_comparable_are_marked_and_stay_together(tmp_path, make):
    for pool in (64, 128):
        make(tmp_path, "lapjv", pool=pool, found=[Measurement("curvature_fm", 1.0)])
    table = read_runs(tmp_path)
    (found,) = pools(table.assign(mixed=table["pool"].eq(64).map({True: "processes", False: None}).astype("string")))
    assert (found.pools, found.title) == ([64, 128], "digits, NOT COMPARABLE: processes differ")


def test_one_pool_is_no_scaling(study):
    assert pools(read_runs(study)) == []
