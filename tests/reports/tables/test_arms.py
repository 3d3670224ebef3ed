"""Runs that differ in objective or noise law are arms of one comparison."""

import pytest

from bench.record import Measurement
from reports.figures.style import DASHES, looks
from reports.tables.arms import (
    Arm,
    arms_of,
    baseline_of,
    coupling_of,
    is_baseline,
    ordered,
    variant_of,
)
from reports.tables.groups import groups
from reports.tables.runs import read
from reports.tables.tidy import read_csv, read_runs, results, write_csv

WIDE = {"P_mean": 0.0, "P_std": 2.0}
FLOW = {"objective": "flow"}


def groups_of(runs):
    return groups(read_runs(runs))


def test_a_name_is_the_coupling_and_what_distinguishes_the_arm():
    arms = ["lapjv, flow", "random", "knn", "random, flow", "lapjv", "sinkhorn:epsilon=0.1,k=2"]
    assert ordered(arms) == [
        "random", "knn", "lapjv", "sinkhorn:epsilon=0.1,k=2", "random, flow", "lapjv, flow",
    ]  # fmt: skip
    assert coupling_of("sinkhorn:epsilon=0.1,k=2, P_mean 0, P_std 2") == "sinkhorn:epsilon=0.1,k=2"
    assert variant_of("lapjv, P_mean 0, P_std 2") == "P_mean 0, P_std 2"
    assert baseline_of("lapjv, flow") == "random, flow"
    assert baseline_of("lapjv") == "random"
    assert is_baseline("random, flow")
    assert not is_baseline("lapjv, flow")


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ([{}], ["lapjv"]),
        # What all runs of a comparison share distinguishes none of them.
        ([FLOW], ["lapjv"]),
        ([WIDE], ["lapjv"]),
        ([{}, FLOW], ["lapjv", "lapjv, flow"]),
        ([{}, WIDE], ["lapjv", "lapjv, P_mean 0, P_std 2"]),
        ([WIDE, FLOW], ["lapjv", "lapjv, flow"]),
        (
            [{}, WIDE, FLOW, {"objective": "flow:t=logit-normal,loc=0,scale=1"}],
            [
                "lapjv",
                "lapjv, P_mean 0, P_std 2",
                "lapjv, flow",
                "lapjv, flow:t=logit-normal,loc=0,scale=1",
            ],
        ),
        (
            [{"P_mean": -0.4, "P_std": 1.6}, WIDE],
            ["lapjv, P_mean -0.4, P_std 1.6", "lapjv, P_mean 0, P_std 2"],
        ),
        # Flow matching has no sigma_data: that of EDM must not part the two.
        (
            [{}, {"sigma_data": "data"}, FLOW],
            ["lapjv", "lapjv, flow", "lapjv, sigma_data data"],
        ),
        ([{"sigma_data": "data"}, FLOW], ["lapjv", "lapjv, flow"]),
        ([{}, {"sigma_data": 0.3}], ["lapjv", "lapjv, sigma_data 0.3"]),
    ],
)
def test_labels(tmp_path, make, settings, names):
    for training in settings:
        make(tmp_path, "lapjv", training=training)
    (group,) = groups_of(tmp_path)
    assert group.own_couplings == names


def test_each_arm_is_compared_with_random_of_its_objective(tmp_path, make):
    values = {("random", ""): 8.0, ("lapjv", ""): 4.0, ("random", "f"): 6.0, ("lapjv", "f"): 9.0}
    for (coupling, flow), value in values.items():
        found = [Measurement("coupling_ms", value)]
        make(tmp_path, coupling, training=FLOW if flow else None, found=found)
    (group,) = groups_of(tmp_path)
    (panel,) = group.panels
    cells = panel.cells[None]
    assert cells["lapjv"].ratio == pytest.approx(0.5)
    assert cells["lapjv, flow"].ratio == pytest.approx(1.5)
    assert cells["random"].ratio is cells["random, flow"].ratio is None


def test_a_law_without_random_has_no_baseline(tmp_path, make):
    make(tmp_path)
    make(tmp_path, "lapjv", training=WIDE)
    (group,) = groups_of(tmp_path)
    (panel,) = [panel for panel in group.panels if panel.metric == "curvature_fm"]
    assert panel.cells[None]["lapjv, P_mean 0, P_std 2"].baseline == {}


def test_the_title_names_what_the_arms_of_a_comparison_share(tmp_path, make):
    make(tmp_path)
    make(tmp_path, pool=256, training=FLOW)
    assert [group.title for group in groups_of(tmp_path)] == [
        "digits, pool 256, training.objective flow",
        "digits, pool 1024, training.objective edm",
    ]


def test_a_source_stands_in_the_title_even_if_all_share_it(tmp_path, make):
    make(tmp_path, source="moons")
    make(tmp_path, "lapjv", source="moons")
    assert [group.title for group in groups_of(tmp_path)] == ["digits from moons, pool 1024"]
    make(tmp_path, pool=256)
    titles = [group.title for group in groups_of(tmp_path)]
    assert titles == [
        "digits, pool 256",
        "digits from moons, pool 1024",
    ]


def test_the_csv_keeps_couplings_and_objectives_apart(tmp_path, make):
    make(tmp_path)
    make(tmp_path, training=FLOW)
    table = results(read(tmp_path)[0])
    write_csv(table, tmp_path / "results.csv")
    again = read_csv(tmp_path / "results.csv")
    assert set(again["coupling"]) == {"random"}
    assert set(again["training.objective"]) == {"edm", "flow"}
    assert [group.own_couplings for group in groups(again)] == [["random", "random, flow"]]


def test_runs_know_their_arms(tmp_path, make):
    make(tmp_path)
    make(tmp_path, training=FLOW)
    runs = read(tmp_path)[0]
    (group,) = groups(results(runs), runs)
    assert {run.config["coupling"] for run in group.runs} == {"random", "random, flow"}
    assert {run.config["coupling"] for run in runs} == {"random"}


def test_laws_of_arms(tmp_path, make):
    for training in ({}, WIDE, FLOW, {"objective": "flow:t=logit-normal,loc=1"}):
        make(tmp_path, training=training)
    (group,) = groups_of(tmp_path)
    assert arms_of(group.rows) == [
        Arm("random", "random", "edm", (-1.2, 1.2)),
        Arm("random, P_mean 0, P_std 2", "random", "edm", (0.0, 2.0)),
        Arm("random, flow", "random", "flow", None),
        Arm("random, flow:t=logit-normal,loc=1", "random", "flow", (1.0, 1.0)),
    ]


def test_arms_of_one_coupling_share_its_colour_and_nothing_else():
    arms = [
        f"{name}{more}" for name in ("random", "lapjv", "knn") for more in ("", ", flow", ", own")
    ]
    look = looks(arms)
    for name in ("random", "lapjv", "knn"):
        own = [look[name], look[f"{name}, flow"], look[f"{name}, own"]]
        assert len({one.colour for one in own}) == 1
        assert len({one.marker for one in own}) == len({str(one.line) for one in own}) == 3
    assert len({look[name].colour for name in ("random", "lapjv", "knn")}) == 3
    # A variant has one dash in all colours, so that the eye finds its lines.
    assert {str(look[f"{name}, flow"].line) for name in ("random", "lapjv")} == {str(DASHES[1])}
    assert look["lapjv"] == looks(["lapjv", "knn"])["lapjv"]
