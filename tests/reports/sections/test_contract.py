"""Sections of the user's own, and the list of all."""

import sys

import pytest

from reports.build import build, main
from reports.sections.contract import sections
from reports.tables.runs import ReportError
from tests.reports.pages import Page

MODULE = """
title = "Number of runs"
place = 15


def build(group):
    if len(group.own_couplings) < 2:
        return None
    return {name: len(seeds) for name, seeds in group.seeds.items()}
"""
TEMPLATE = """{% from "macros.html" import name with context %}
<table class="counted">
{% for coupling, count in content.items() %}
<tr><th>{{ name(coupling) }}</th><td>{{ count }}</td></tr>
{% endfor %}
</table>
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's own with its template, by its name."""
    folder = tmp_path / "my_project"
    folder.mkdir()
    (folder / "counted_runs.py").write_text(MODULE)
    (folder / "counted_runs.html").write_text(TEMPLATE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_project.counted_runs"
    for name in [name for name in sys.modules if name.split(".")[0] == "my_project"]:
        del sys.modules[name]


def test_all_sections_have_a_title_a_template_and_a_place_of_their_own():
    found = sections()
    places = [section.module.place for section in found]
    assert places == sorted(set(places))
    assert len({section.module.title for section in found}) == len(found)
    assert [section.key for section in found][:5] == [
        "images",
        "nearest",
        "figures",
        "reach",
        "values",
    ]


def test_a_section_of_the_user_stands_at_its_place_with_its_heading(own, study, tmp_path):
    report = build(study, tmp_path / "out", sections=[own])
    page = Page(report.html.read_text())
    ids = [a["id"] for tag, a in page.tags if tag == "h3" and "id" in a]
    assert ids[:4] == ["g1-images", "g1-figures", "g1-counted-runs", "g1-reach"]
    assert {"href": "#g1-counted-runs"} in [a for tag, a in page.tags if tag == "a"]
    (table,) = [table for table in page.tables if table["class"] == "counted"]
    assert table["h3"] == "Number of runs"
    assert table["rows"] == [["random", "3"], ["lapjv", "3"], ["sinkhorn:epsilon=0.05", "3"]]


def test_a_section_without_content_has_no_heading(own, tmp_path, make):
    make(tmp_path / "runs")
    assert "Number of runs" not in build(tmp_path / "runs", sections=[own]).html.read_text()


def test_the_command_takes_it(own, study, tmp_path):
    assert main([str(study), "--out", str(tmp_path / "out"), "--sections", own]) == 0
    assert "Number of runs" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("source", "template", "said"),
    [
        ("place = 1\n", "", "needs 'title'"),
        ("title = 'A'\n", "", "needs 'place'"),
        ("title = 'A'\nplace = 1\n", "", r"needs a function build\(group\)"),
        (MODULE, None, "needs its template, broken.html, next to it"),
    ],
)
def test_what_is_no_section_is_refused(own, tmp_path, source, template, said):
    (tmp_path / "my_project" / "broken.py").write_text(source)
    if template is not None:
        (tmp_path / "my_project" / "broken.html").write_text(template)
    with pytest.raises(ReportError, match=said):
        sections(["my_project.broken"])


def test_unknown_names_are_refused(capsys, study):
    assert main([str(study), "--sections", "no_such.section"]) == 2
    assert "no module no_such" in capsys.readouterr().err
