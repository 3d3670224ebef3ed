"""The data frame of claims, and the primary question that it is made by."""

import math
from dataclasses import replace

import pandas as pd
import pytest

from reports.build import build
from reports.overview.headline import headlines
from reports.overview.question import equal_lines, placebo_lines, question_line, role_of
from reports.overview.seeds import seed_lines
from reports.tables.claims import COLUMNS, claims
from reports.tables.groups import groups
from reports.tables.runs import read
from reports.tables.tidy import read_csv, read_runs, results


def table(folder, make, over_rho, seeds=3, arms=("random", "lapjv", "hungarian", "knn"), **origin):
    """``lapjv`` and ``hungarian`` train one network; ``knn`` is a placebo."""
    levels = {"lapjv": 0.8, "hungarian": 0.8, "knn": 1.0, "random": 1.0}
    for arm in arms:
        for seed in range(seeds):
            # lapjv varies by 4 % against random, knn by 14 %.
            wobble = 1 + {"random": 0.0, "knn": 0.1}.get(arm, 0.03) * (seed - 1)
            values = {
                nfe: {7: 40 / nfe * (1 + seed / 9), 16: 30 / nfe * levels.get(arm, 1.0) * wobble}
                for nfe in (5, 9, 13)
            }
            make(folder, arm, seed, found=over_rho(values), **origin)
    return read_runs(folder)


def test_each_comparison_is_a_row(tmp_path, make, over_rho):
    found = claims(table(tmp_path, make, over_rho))
    assert list(found) == list(COLUMNS)
    assert set(found.against) == {"random"}
    assert set(found.coupling) == {"lapjv", "hungarian", "knn"}
    one = found.query("metric == 'fd_classifier' and schedule == 'best rho' and nfe == 13")
    assert set(one.role) == {"primary"}
    assert (one.p == one.adjusted).all()
    rest = found[found.role == "other"]
    assert (rest.adjusted >= rest.p).all()
    clear = one.set_index("coupling").loc["lapjv"]
    assert clear.verdict == "better"
    assert clear.low < clear.ratio < clear.high < 1
    assert clear.seeds == 3


def test_a_diverged_run_is_undefined_and_no_lack_of_seeds(tmp_path, make, over_rho):
    for arm, value in (("random", 40.0), ("lapjv", math.nan)):
        for seed in range(3):
            make(tmp_path, arm, seed, found=over_rho({13: {7: value + seed}}))
    found = claims(read_runs(tmp_path))
    assert set(found.verdict) == {"undefined"}


def test_a_declared_question_is_the_primary_one_also_from_the_csv(tmp_path, make, over_rho):
    rows = table(tmp_path / "runs", make, over_rho, primary="fd_classifier@5")
    saved = read_csv(build(tmp_path / "runs").csv)
    assert set(saved.primary) == {"fd_classifier@5"}
    for one in (rows, saved):
        found = claims(one)
        assert set(found.nfe[found.role == "primary"]) == {5}
    again = claims(saved, primary="truncation_error@9").query("role == 'primary'")
    assert set(zip(again.metric, again.nfe, strict=True)) == {("truncation_error", 9)}
    pd.testing.assert_frame_equal(claims(rows), claims(saved))


def test_the_page_and_the_terminal_name_the_question(tmp_path, make, over_rho):
    table(tmp_path, make, over_rho, primary="fd_classifier@9")
    runs, _ = read(tmp_path)
    (group,) = groups(results(runs), runs)
    # 2 networks at 3 NFEs in 2 metrics at 2 schedules, but the primary ones; random and lapjv are
    # equal at rho 7, and so are all others there.
    assert question_line(group).startswith(
        "Primary question (declared with the runs): fd_classifier, test, best rho, at NFE 9; all"
        " other claims are adjusted ("
    )
    (lapjv,) = [one for one in headlines(group) if one.coupling == "lapjv"]
    assert "rho 7: " in lapjv.quality
    assert lapjv.quality.count("adjusted") == 1
    assert lapjv.quality.endswith("lower (better), primary")
    best = [p for p in group.panels if p.metric == "fd_classifier" and p.split == "test"][-1]
    assert role_of(best) == "primary at NFE 9, adjusted at all others"
    html = build(tmp_path).html.read_text()
    assert "primary at NFE 9, adjusted at all others" in html
    assert question_line(group) in html


def test_equal_arms_are_said_and_count_once(tmp_path, make, over_rho):
    both = table(tmp_path / "both", make, over_rho)
    one = table(tmp_path / "one", make, over_rho, arms=("random", "lapjv", "knn"))
    (group,) = groups(both)
    assert equal_lines(group) == [
        "hungarian and lapjv gave identical results, to the last digit, so they are counted once."
    ]
    found = [claims(rows).query("coupling == 'lapjv'").adjusted.tolist() for rows in (both, one)]
    assert found[0] == found[1]


def test_a_schedule_that_a_run_chose_before_is_not_the_question(tmp_path, make, over_rho):
    """As runs have it that chose by themselves first and then with other seeds."""
    for arm, level in (("random", 1.0), ("lapjv", 0.8)):
        for seed in range(3):
            found = over_rho({13: {7: 10.0, 16: 9.0 * level * (1 + seed / 50)}})
            best = next(row for row in found if row.metric == "fd_classifier" and row.rho == 16)
            # No first pass at 20 is left, so that no grid chose it.
            make(tmp_path, arm, seed, found=[*found, replace(best, value=12.0, rho=20.0)])
    (group,) = groups(read_runs(tmp_path))
    assert "rho 20" in [panel.schedule for panel in group.panels]
    assert "fd_classifier, test, best rho, at NFE 13" in question_line(group)
    asked = claims(group.rows).query("role == 'primary'")
    assert set(asked.schedule) == {"best rho"}


def test_placebos_are_named(tmp_path, make, over_rho):
    both = table(tmp_path / "both", make, over_rho, arms=("random", "random:draw=1", "permuted"))
    (group,) = groups(both)
    assert placebo_lines(group) == [
        "permuted and random:draw=1 are placebos: their pairs are random, so any claim is chance."
    ]
    (none,) = groups(table(tmp_path / "none", make, over_rho))
    assert placebo_lines(none) == []


@pytest.mark.parametrize(
    ("primary", "said"),
    [
        ({"random": "fd_classifier@5", "lapjv": "fd_classifier@9"}, "the runs declare several"),
        ({"random": "w2@5", "lapjv": "w2@5"}, "w2 at NFE 5, was not measured here"),
    ],
)
def test_without_one_question_everything_is_adjusted(tmp_path, make, over_rho, primary, said):
    for arm, asked in primary.items():
        for seed in range(3):
            make(tmp_path, arm, seed, found=over_rho({9: {7: 1.0 + seed}}), primary=asked)
    found = read_runs(tmp_path)
    assert set(claims(found).role) == {"other"}
    (group,) = groups(found)
    assert said in question_line(group)
    assert seed_lines(group) == []


def test_seeds_are_told_in_plain_lines(tmp_path, make, over_rho):
    (group,) = groups(table(tmp_path, make, over_rho))
    first, *more = seed_lines(group)
    assert first.startswith("fd_classifier, test, best rho, at NFE 13: ")
    assert "show a difference of 20 %" in first
    assert "5 % needs " in first
    assert all("is not significant with 3 seeds. With" in line for line in more)
    (few,) = groups(table(tmp_path / "few", make, over_rho, seeds=2))
    assert seed_lines(few) == []
