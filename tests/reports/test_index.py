"""The page over all studies: every claim and every change of every study, and no other."""

import shutil

import pytest

from reports.build import build as build_report
from reports.bundle import bundle
from reports.index import build, main, overview
from reports.tables.runs import ReportError
from tests.reports.conftest import ARMS
from tests.reports.pages import Page


@pytest.fixture(scope="module")
def built(tmp_path_factory, make):
    tmp_path = tmp_path_factory.mktemp("studies")
    folder = tmp_path / "published"
    for name, pools in (("one", (64, 256)), ("two", (64,))):
        runs = tmp_path / name
        for pool in pools:
            for arm in ARMS[:2]:
                for seed in range(3):
                    make(runs, arm, seed, pool=pool, images=64 * 1024)
        build_report(runs, folder / name)
    bundle([tmp_path / "two"], folder / "two" / "runs.zip")
    (folder / "two" / "results.csv").unlink()
    return folder


@pytest.fixture
def studies(built, tmp_path):
    """Study ``one`` as a table with two comparisons, study ``two`` as a bundle with one."""
    return shutil.copytree(built, tmp_path / "published")


def test_the_table_has_each_change_of_each_study_once(studies):
    page = Page(build(studies).read_text())
    found = overview(studies, studies)
    expected = []
    for answer in found.answers:
        for row in answer.table.rows:
            expected += [row.cells[nfe].ratio for nfe in found.nfes if nfe in row.cells]
    shown = [float(cell["data-value"]) for cell in page.cells if "size" in cell.get("class", "")]
    assert shown == expected
    # Three comparisons of lapjv at four numbers of evaluations each.
    assert len(shown) == 12


def test_links_lead_to_the_pages_of_the_comparisons(studies):
    page = build(studies)
    links = [a["href"] for tag, a in Page(page.read_text()).tags if tag == "a"]
    assert set(links) == {
        "one/comparison-1.html",
        "one/comparison-2.html",
        "two/report.html",
    }
    assert all((page.parent / link).is_file() for link in links)
    elsewhere = studies.parent / "all.html"
    build(studies, elsewhere)
    links = [a["href"] for tag, a in Page(elsewhere.read_text()).tags if tag == "a"]
    assert all((elsewhere.parent / link).is_file() for link in links)


def test_settled_and_open_are_the_cards_of_the_studies(studies):
    found = overview(studies, studies)
    cards = []
    for answer in found.answers:
        cards += [card for card in answer.cards if card.kind != "fact"]
    listed = [line.card for line in (*found.settled, *found.unsettled)]
    assert sorted(listed, key=repr) == sorted(cards, key=repr)
    # lapjv is 0.6 times random up to 5 evaluations and 1.25 times from 13 on, in every study.
    assert {line.card.title for line in found.settled} >= {"lapjv", "random"}


def test_a_study_without_distances_is_named_with_its_page(studies, make, tmp_path):
    from bench.record import Measurement

    for arm in ARMS[:2]:
        make(tmp_path / "paths", arm, found=[Measurement("coupling_ms", 2.0)])
    build_report(tmp_path / "paths", studies / "paths")
    assert overview(studies, studies).others == (("paths", "paths/report.html"),)
    page = Page(build(studies).read_text())
    assert "Without a distance to real images: paths." in " ".join(page.text.split())


def test_the_same_studies_give_the_same_bytes(studies):
    assert build(studies).read_bytes() == build(studies).read_bytes()


def test_what_is_no_folder_of_studies_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for folder, words in (
        (tmp_path / "missing", "is no folder"),
        (tmp_path / "empty", "no study in"),
    ):
        with pytest.raises(ReportError, match=words):
            build(folder)
        assert main([str(folder)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
