"""Networks from files (``bench.run --from-checkpoint``): several of them are arms of one
comparison.
"""

import re

import pytest

from bench.record import Measurement
from reports.build import build
from reports.files.terminal import terminal_table
from reports.overview.summary import summarise
from reports.overview.warnings import warnings
from reports.tables.groups import groups
from reports.tables.runs import read
from reports.tables.tidy import read_csv, read_runs, results

A = "683b03be" + "a" * 56
B = "99c0ffee" + "b" * 56
PLACE = {"rho": 7.0, "sampler": "heun", "start": "gaussian", "guidance": "none", "n": 500}


def quality(value):
    return [
        Measurement("fd_classifier", value / nfe, nfe=nfe, split="test", **PLACE) for nfe in (5, 13)
    ]


@pytest.fixture
def two(tmp_path, make):
    """Two files, evaluated after trainings of different settings were asked for."""
    make(tmp_path, "early", checkpoint=A, pool=1024, found=quality(9.0))
    make(tmp_path, "late", checkpoint=B, pool=256, images=5_000_000, found=quality(6.0))
    return tmp_path


def test_they_are_arms_of_one_comparison(two):
    (group,) = groups(read_runs(two))
    assert (group.title, group.own_couplings) == ("digits", ["early", "late"])
    (finding,) = summarise(group).findings
    assert [view.lowest for view in finding.views] == ["late at NFE 5 and 13"]
    assert all(view.claims == () for view in finding.views)


def test_neither_pool_nor_training_nor_ratio_is_said(two):
    text = terminal_table(read_runs(two))
    assert "\ndigits, seed 0. Mean over seeds\n" in text
    assert re.search(r"NFE +early +late\n +5 +1\.80 +1\.20\n", text)
    assert not any(word in text for word in ("pool", "random", "training", A[:8], "(x"))
    page = build(two).html.read_text()
    assert "ratio to random" not in page.split('id="g1"')[1].split('id="config"')[0]
    assert "run --coupling random" not in page
    assert "there is no random pairing, so means are compared" in page


def test_the_table_has_them_in_one_group_also_when_read_back(two):
    (group,) = groups(read_csv(build(two).csv))
    assert group.title == "digits"
    assert group.rows["pool"].isna().all()
    assert not [name for name in group.rows if name.startswith(("training.", "network."))]
    assert group.rows.groupby("coupling")["checkpoint"].nunique().eq(1).all()
    assert group.rows["checkpoint"].nunique() == 2


def test_equal_names_are_told_by_the_hash_of_the_file(tmp_path, make):
    for checkpoint, value in ((A, 9.0), (B, 6.0)):
        make(tmp_path, "net", checkpoint=checkpoint, found=quality(value))
    (group,) = groups(read_runs(tmp_path))
    assert group.own_couplings == ["net (683b03be)", "net (99c0ffee)"]
    assert "net (99c0ffee)" in build(tmp_path).html.read_text()


def test_one_name_stays_as_it_is_and_none_is_the_baseline(tmp_path, make):
    make(tmp_path, "net", checkpoint=A, found=quality(9.0))
    make(tmp_path, "net", 1, checkpoint=A, found=quality(9.0))
    make(tmp_path, "random", checkpoint=B, found=quality(6.0))
    (group,) = groups(read_runs(tmp_path))
    assert group.own_couplings == ["net", "random (99c0ffee)"]


def test_one_file_counts_once_whatever_training_was_asked_for(tmp_path, make):
    make(tmp_path, "net", checkpoint=A, images=1000, found=quality(9.0))
    make(tmp_path, "net", checkpoint=A, images=2000, found=quality(9.0))
    runs, excluded = read(tmp_path)
    assert len(runs) == 1
    assert [item.reason for item in excluded] == [
        f"same configuration as {runs[0].run_id}, which is included"
    ]


def test_beside_trained_runs_they_are_a_comparison_of_their_own(two, make):
    for arm in ("random", "lapjv"):
        make(two, arm, found=quality(5.0))
    runs, _ = read(two)
    found = groups(results(runs), runs)
    assert sorted((group.title, *group.own_couplings) for group in found) == [
        ("digits", "early", "late"),
        ("digits, pool 1024", "random", "lapjv"),
    ]
    said = " ".join(warnings(found, runs))
    assert "training budgets differ" not in said
    assert "no coupling" not in said


def test_the_page_names_the_file_in_full(two):
    page = build(two).html.read_text()
    assert A in page
    assert B in page
