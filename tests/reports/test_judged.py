"""Which distances the terminal, the summary and the headline speak of: some distance to the test
split, always.
"""

import pytest

from bench.record import Measurement
from bench.record.infos import Info, write_infos
from reports.build import build
from reports.files.terminal import terminal_table
from reports.files.wide import fd_vs_nfe
from reports.overview.headline import headlines
from reports.overview.summary import summarise
from reports.overview.warnings import warnings
from reports.sections import pareto
from reports.tables.groups import groups
from reports.tables.metrics import collect
from reports.tables.runs import read
from reports.tables.tidy import read_runs, results
from tests.reports.pages import code

PLACE = {"rho": 7.0, "sampler": "heun", "start": "gaussian", "guidance": "none"}
UNJUDGED = "No verdict on quality"


def rows(level, *metrics, n=500):
    """Each metric on the test split, the first at ``level``, the next twice as high and so on."""
    return [
        Measurement(metric, level * 2**place / nfe, nfe=nfe, split="test", n=n, **PLACE)
        for place, metric in enumerate(metrics)
        for nfe in (5, 13)
    ]


def compared(folder, make, *metrics, seeds=3, n=500, **origin):
    """The group of random and of lapjv, whose distances are a quarter below."""
    for seed in range(seeds):
        make(folder, "random", seed, found=rows(100.0 + seed, *metrics, n=n), **origin)
        make(folder, "lapjv", seed, found=rows(75.0 + seed, *metrics, n=n), **origin)
    runs, _ = read(folder)
    (group,) = groups(results(runs), runs)
    return group


@pytest.mark.parametrize(
    ("metrics", "first"),
    [
        (("fd_pixels",), "fd_pixels"),
        (("fd_classifier", "fd_pixels"), "fd_classifier"),
        (("fd_net", "fd_classifier"), "fd_net"),
        (("fd_pixels", "fd_net"), "fd_net"),
        (("fd_net", "fd_inception"), "fd_net"),
        (("fd_classifier", "fd_pixels", "w2"), "w2"),
        (("fd_net", "w2"), "w2"),
    ],
)
def test_some_distance_to_the_test_split_is_judged_whatever_the_features(
    tmp_path, make, metrics, first
):
    group = compared(tmp_path, make, *metrics)
    assert code(summarise(group).findings[0].title) == f"{first}, test"
    assert code(headlines(group)[0].quality).startswith(f"{first}, test, at NFE 13: ")
    assert "lower (better)" in headlines(group)[0].quality
    assert f"\n{first}, test\n  NFE " in terminal_table(group.rows)
    assert group.metrics.distances(group.rows["metric"])[0] == first
    assert UNJUDGED not in build(tmp_path).html.read_text()


def test_pixels_are_judged_only_where_there_is_no_other_distance():
    both = [("fd_pixels", "test"), ("fd_classifier", "test"), ("truncation_error", None)]
    metrics = collect([], [metric for metric, _ in both])
    assert metrics.judged(both) == [("fd_classifier", "test"), ("truncation_error", None)]
    assert metrics.judged(both[:1]) == [("fd_pixels", "test")]
    others = [("fd_classifier", "train"), ("fd_infinity_net", "test"), ("kid_net", "test")]
    assert metrics.judged(others) == []


def test_the_verdict_on_own_features_is_better_and_worse_in_words_and_colours(tmp_path, make):
    group = compared(tmp_path, make, "fd_net")
    html = build(tmp_path).html.read_text()
    assert "lower (better) than random at NFE 5 and 13" in html
    assert 'class="ratio better"' in html
    assert "Lower is better." in group.metrics.about("fd_net")


def test_own_features_come_before_known_ones_and_pixels_come_last():
    names = ["fd_pixels", "fd_classifier", "fid", "fd_net", "w2"]
    assert collect([], names).ordered(names) == [
        "w2",
        "fd_net",
        "fid",
        "fd_classifier",
        "fd_pixels",
    ]


@pytest.mark.parametrize(("n", "said"), [(64, True), (65, False)])
def test_a_singular_distance_is_judged_and_said_to_be_singular(tmp_path, make, n, said):
    group = compared(tmp_path, make, "fd_pixels", n=n, feature_sizes={"pixels": 64})
    note = "(fd_pixels), test (singular covariance: 64 images in 64 features)"
    runs, _ = read(tmp_path)
    shown = [
        summarise(group).findings[0].title,
        headlines(group)[0].quality,
        terminal_table(results(runs), runs),
        build(tmp_path).html.read_text(),
    ]
    shown[2] = shown[2].replace("fd_pixels", "(fd_pixels)")
    assert [note in text for text in shown] == [said] * 4


def test_the_quality_against_cost_is_of_the_same_distance(tmp_path, make):
    cost = [Measurement("train_seconds", 100.0), Measurement("coupling_share", 0.1)]
    cost.append(Measurement("coupling_wait_share", 0.0))
    for arm, level in (("random", 4.0), ("lapjv", 3.0)):
        make(tmp_path, arm, found=rows(level, "fd_pixels") + cost)
    (group,) = groups(read_runs(tmp_path))
    assert code(pareto.build(group).title) == "fd_pixels, test, NFE 13"


def test_only_what_was_not_measured_is_said_to_be_missing(tmp_path, make):
    make(tmp_path, found=[Measurement("fd_pixels", 1.0, nfe=5, split="train", n=500, **PLACE)])
    page = " ".join(build(tmp_path).html.read_text().split())
    assert (
        "No verdict on quality: neither a distance to the test split nor truncation_error was"
        in page
    )


def test_a_distance_of_the_users_own_is_judged(tmp_path, make):
    """Its description says that it is one; its name need not."""
    runs, _ = read(compared_runs(tmp_path, make, "energy"))
    (group,) = groups(results(runs), runs)
    assert summarise(group).findings[0].title == "energy, test"
    assert headlines(group)[0].quality.startswith("energy, test, at NFE 13: ")
    assert headlines(group)[0].quality.endswith("lower (better), primary")
    assert [table.keys["metric"] for table in fd_vs_nfe(group)] == ["energy"]
    (line,) = [line for line in warnings([group], runs) if "biased upwards" in line]
    assert line.startswith("Distances from 500 images")
    assert "\nenergy, test\n  NFE " in terminal_table(group.rows, runs)


def compared_runs(folder, make, metric):
    info = Info(metric, "Distance of energies.", "lower", distance=True)
    for seed in range(3):
        for coupling, level in (("random", 100.0), ("lapjv", 75.0)):
            path = make(folder, coupling, seed, found=rows(level + seed, metric)).path
            write_infos(path, [info])
    return folder
