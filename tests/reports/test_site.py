"""Several comparisons: an entry page with the summary, and a page for each."""

import pytest

from bench.record import Measurement
from reports.build import build
from tests.reports.pages import Page

FEW = [Measurement("truncation_error", 1.0, nfe=5), Measurement("coupling_ms", 2.0)]


@pytest.fixture
def pools(tmp_path, make):
    """Three comparisons of two couplings."""
    for pool in (64, 256, 1024):
        for coupling in ("random", "lapjv"):
            make(tmp_path, coupling, pool=pool, images=64 * 1024, found=FEW)
    return tmp_path


def links(page):
    return [a["href"] for tag, a in page.tags if tag == "a"]


def test_every_link_leads_to_a_place_that_is_there(pools):
    report = build(pools)
    names = sorted(path.name for path in pools.glob("*.html"))
    assert names == ["comparison-1.html", "comparison-2.html", "comparison-3.html", "report.html"]
    pages = {name: Page((pools / name).read_text()) for name in names}
    ids = {name: {a["id"] for _, a in page.tags if "id" in a} for name, page in pages.items()}
    reached = set()
    for name, page in pages.items():
        for link in links(page):
            file, _, anchor = link.partition("#")
            # Relative to the page, so that a copied folder works offline
            assert (file or name) in pages, link
            assert not anchor or anchor in ids[file or name], link
            reached.add(file or name)
    assert reached == set(pages)
    assert report.html.name == "report.html"


def test_the_entry_has_the_summary_and_a_page_has_its_numbers(pools):
    entry = Page(build(pools).html.read_text())
    classes = [table["class"] for table in entry.tables]
    assert classes == ["change sortable", "sortable text", "sortable text"]
    for pool in (64, 256, 1024):
        assert f"digits, pool {pool}" in entry.text
    middle = Page((pools / "comparison-2.html").read_text())
    assert "digits, pool 256" in middle.text
    assert {a.get("rel") for tag, a in middle.tags if tag == "a" and "rel" in a} == {"prev", "next"}
    values = [table for table in middle.tables if table["h3"] == "Values at each NFE"]
    assert [table["caption"] for table in values] == ["truncation_error"]
    assert "There is no random run" not in middle.text


def test_a_warning_stands_on_the_page_of_its_comparison(pools, make):
    make(pools, "knn", 1, pool=256, images=64 * 1024, found=FEW)
    build(pools)
    said = [
        "The couplings have different seeds" in (pools / f"comparison-{n}.html").read_text()
        for n in (1, 2, 3)
    ]
    assert said == [False, True, False]


def test_pages_of_an_earlier_report_are_removed(pools):
    build(pools)
    (pools / "comparison-2-notes.html").write_text("mine")
    fewer = [path.name for path in pools.glob("*pool64*")]
    build(pools, run_ids=fewer)
    assert sorted(path.name for path in pools.glob("*.html")) == [
        "comparison-2-notes.html",
        "report.html",
    ]
    assert "Values at each NFE" in (pools / "report.html").read_text()


def test_titles_cannot_become_markup(tmp_path, make):
    for pool in (64, 256):
        make(tmp_path, pool=pool, data="<script>alert(1)<script>", found=FEW)
    build(tmp_path)
    for path in tmp_path.glob("*.html"):
        assert "<script>alert" not in path.read_text()


def test_lists_of_the_provenance_are_words(tmp_path, make):
    sessions = [{"started": "2025-01-01T00:00:00Z", "device": "cuda", "steps": [1, 2]}]
    make(tmp_path, found=FEW, earlier_sessions=sessions)
    text = Page(build(tmp_path).html.read_text()).text
    assert "started 2025-01-01T00:00:00Z, device cuda, steps 1 2" in text
    assert "[{" not in text
