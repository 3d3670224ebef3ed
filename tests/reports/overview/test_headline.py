import math

import pytest

from bench.record import Measurement
from reports.build import build
from reports.overview.headline import headlines
from reports.tables.groups import groups
from reports.tables.tidy import read_runs


def of(runs):
    (group,) = groups(read_runs(runs))
    return {headline.coupling: headline for headline in headlines(group)}


def test_each_arm_says_what_it_does_at_one_nfe_and_what_it_costs(study):
    found = of(study)
    assert list(found) == ["lapjv", "sinkhorn:epsilon=0.05"]
    said = found["lapjv"].quality
    # 80 / 13 with seeds at 1.00, 1.03 and 1.06 of it, and lapjv a quarter above
    assert said.startswith(
        "Fréchet distance, classifier features (fd_classifier), test, at NFE 13: 7.92 vs 6.34 for"
        " random, +25 % [+25, +25]"
    )
    assert said.endswith("+25]: higher (worse), primary")
    assert "lower (better)" in found["sinkhorn:epsilon=0.05"].quality
    assert found["lapjv"].cost == "training work +6 %"


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_give_numbers_and_no_claim(tmp_path, make, seeds):
    for seed in range(seeds):
        for arm in ("random", "lapjv"):
            make(tmp_path, arm, seed)
    counted = {1: "1 seed", 2: "2 seeds"}[seeds]
    expected = f"for random (+25 %; {counted}, 3 needed for a claim)"
    assert of(tmp_path)["lapjv"].quality.endswith(expected)


def test_seeds_that_random_lacks_do_not_count(tmp_path, make):
    for arm, seed, value in (("random", 0, 10.0), ("lapjv", 0, 5.0), ("lapjv", 1, 500.0)):
        found = [Measurement("fd_classifier", value, 13, 7.0, "heun", split="test", n=100)]
        make(tmp_path, arm, seed, found=found)
    assert "5.00 vs 10.0 for random (−50 %;" in of(tmp_path)["lapjv"].quality


def test_an_arm_without_the_fixed_rho_is_told_at_its_best(tmp_path, make, over_rho):
    make(tmp_path, "random", found=over_rho({13: {7: 4.0, 16: 5.0}}))
    only = [
        m for m in over_rho({13: {7: 4.0, 16: 2.0}}) if m.rho != 7 or m.metric.startswith("grid")
    ]
    make(tmp_path, "lapjv", found=only)
    assert (
        of(tmp_path)["lapjv"]
        .quality.partition("(fd_classifier), ")[2]
        .startswith("test, at NFE 13, best rho: ")
    )


def test_what_was_not_measured_is_not_said(tmp_path, make):
    make(tmp_path, "lapjv", found=[Measurement("fd_classifier", 1.0, nfe=5, split="test")])
    assert of(tmp_path) == {}
    cost = {"train_seconds": 100.0, "coupling_share": 0.5, "coupling_wait_share": 0.0}
    make(tmp_path, "knn", found=[Measurement(name, value) for name, value in cost.items()])
    (one,) = of(tmp_path).values()
    assert (one.coupling, one.quality, one.cost) == ("knn", "", "training work +50 %")


def test_an_arm_that_diverged_is_said_to_have(tmp_path, make):
    for seed in range(3):
        for arm, value in (("random", 2.0), ("lapjv", math.nan if seed else 1.0)):
            make(
                tmp_path,
                arm,
                seed,
                found=[Measurement("fd_classifier", value, nfe=13, split="test")],
            )
    assert of(tmp_path)["lapjv"].quality.endswith(
        "at NFE 13: not finite vs 2.00 for random (no comparison)"
    )


def test_arms_come_in_the_order_of_the_tables(tmp_path, make):
    make(tmp_path, "random")
    cost = {"train_seconds": 100.0, "coupling_share": 0.5, "coupling_wait_share": 0.0}
    make(tmp_path, "knn", found=[Measurement(name, value) for name, value in cost.items()])
    make(tmp_path, "lapjv")
    assert list(of(tmp_path)) == ["knn", "lapjv"]


def test_without_random_nothing_is_said_of_an_nfe(tmp_path, make):
    make(tmp_path, "lapjv")
    html = build(tmp_path).html.read_text()
    assert "Cost: training work +6 %" in html
    assert "The headline uses" not in html


def test_it_is_folded_below_the_answer(study, tmp_path):
    html = build(study, tmp_path).html.read_text()
    first = html.index("Cost: training work +6 %")
    assert html.index("<svg") < html.index('id="warnings"') < html.index('id="summary"') < first
