"""Descriptions of metrics: from the runs, and for runs of earlier versions from bench."""

import pytest

from bench.record import Measurement
from bench.record.infos import Info, write_infos
from reports.build import build
from reports.tables.groups import groups
from reports.tables.metrics import claim, collect, verdict
from reports.tables.runs import read
from reports.tables.statistics import Cell
from reports.tables.tidy import results
from tests.reports.pages import Page

PLACE = {"nfe": 5, "rho": 7.0, "split": "test", "n": 500, "sampler": "heun"}


def compared(value):
    """A coupling with this value in each of three seeds, against 2."""
    return Cell(dict.fromkeys(range(3), value), dict.fromkeys(range(3), 2.0))


@pytest.mark.parametrize(
    ("better", "value", "judged", "words"),
    [
        ("lower", 1.0, "better", "lower (better)"),
        ("lower", 3.0, "worse", "higher (worse)"),
        ("higher", 1.0, "worse", "lower (worse)"),
        ("higher", 3.0, "better", "higher (better)"),
        (None, 3.0, "unclear", "higher"),
        ("lower", 2.0, "unclear", "no clear difference"),
    ],
)
def test_a_verdict_has_one_word_and_one_colour(better, value, judged, words):
    info = Info("metric", "A metric.", better)
    assert verdict(info, compared(value)) == judged
    assert claim(info, compared(value)) == words


def test_runs_of_earlier_versions_are_described_by_bench():
    metrics = collect([], ["fd_net", "kid_pixels", "images_per_s", "fd_classifier", "novelty"])
    assert list(metrics.infos) == ["fd_net", "fd_classifier", "kid_pixels", "images_per_s"] or (
        list(metrics.infos) == ["fd_net", "fd_classifier", "images_per_s", "kid_pixels"]
    )
    assert metrics.about("fd_classifier").endswith("Lower is better.")
    assert metrics["images_per_s"].better == "higher"
    assert metrics["images_per_s"].per == "run"
    assert metrics.about("novelty") == ""
    assert metrics.ordered(["novelty", "fd_classifier"]) == ["fd_classifier", "novelty"]


def test_what_a_run_says_counts():
    own = Info("fd_classifier", "My words.", "higher", place=5)
    metrics = collect([[own], [Info("mine", "Mine.", place=1)]], ["fd_classifier", "mine"])
    assert list(metrics.infos) == ["mine", "fd_classifier"]
    assert metrics.about("fd_classifier") == "My words. Higher is better."


@pytest.fixture
def described(tmp_path, make):
    """Runs with a metric that nobody here knows, described in their metrics.json."""
    spread = Info("spread", "Mean distance of two samples.", "higher", figure=False, place=1)
    effort = Info("effort", "Watts of the machine.", "lower", per="run", kind="cost", share=True)
    for coupling, value in (("random", 1.0), ("lapjv", 2.0)):
        for seed in range(3):
            found = [
                Measurement("spread", value + seed / 100, **PLACE),
                Measurement("effort", value / 10, n=seed),
            ]
            write_infos(make(tmp_path, coupling, seed, found=found).path, [spread, effort])
    return tmp_path


def test_a_metric_of_the_user_has_its_sentence_its_verdict_and_its_place(described):
    page = Page(build(described).html.read_text())
    cells = {(c["data-metric"], c["data-coupling"]): c for c in page.cells if "data-metric" in c}
    assert cells["spread", "lapjv"]["small"][1].startswith("×1.99 [")
    ratios = [
        a["class"] for tag, a in page.tags if tag == "small" and "ratio" in a.get("class", "")
    ]
    assert ratios == ["ratio better", "ratio worse"]
    assert "Mean distance of two samples. Higher is better. n = 500 generated images." in page.text
    assert cells["effort", "lapjv"]["text"] == "20 %"
    (table,) = [table for table in page.tables if "effort" in table["rows"][0]]
    assert table["h3"] == "Cost of the coupling"


def test_what_runs_describe_differently_is_one_metric(described):
    runs, _ = read(described)
    (group,) = groups(results(runs), runs)
    assert [panel.metric for panel in group.panels] == ["spread", "effort"]


def test_a_damaged_description_is_named(described):
    next(described.glob("*lapjv*seed0*/metrics.json")).write_text("{")
    runs, excluded = read(described)
    assert len(runs) == 5
    assert "metrics.json is damaged" in excluded[0].reason
