"""BibTeX of the couplings against their docstrings, which name the same papers."""

import re
from pathlib import Path

import pytest

from couplings import catalogue, names
from couplings.__main__ import main
from couplings.papers import FILE, bibtex, papers, papers_of
from ot_couplings import __version__

ROOT = Path(__file__).parents[2]
WITHOUT = {"greedy"}  # a heuristic without a paper


def fields(entry):
    return dict(re.findall(r"^  (\w+) *= \{(.*)\},$", entry, re.MULTILINE))


def test_the_file_is_bibtex_of_whole_entries_with_keys_of_their_own():
    text = FILE.read_text(encoding="utf-8")
    assert text.count("@") == len(papers())
    keys = [paper.key for paper in papers()]
    assert len(set(keys)) == len(keys)
    for paper in papers():
        assert paper.bibtex.count("{") == paper.bibtex.count("}"), paper.key
        assert {"title", "author", "year"} <= fields(paper.bibtex).keys(), paper.key
        assert "keywords" not in paper.bibtex
        # The year of an arXiv number is at most that of the publication.
        number = fields(paper.bibtex).get("eprint")
        if number:
            assert 2000 + int(number[:2]) <= int(fields(paper.bibtex)["year"])


def test_entries_name_couplings_that_there_are():
    named = set()
    for paper in papers():
        named.update(paper.couplings)
    assert named == set(names()) - WITHOUT


@pytest.mark.parametrize("name", names())
def test_the_source_that_a_docstring_names_has_its_entry(name):
    source = catalogue.entry(name).source
    entries = [paper.bibtex for paper in papers_of([name])[1:]]
    joined = "\n".join(entries)
    assert bool(entries) == (name not in WITHOUT)
    for number in re.findall(r"\d{4}\.\d{5}", source):
        assert f"eprint   = {{{number}}}" in joined
    # Surnames before a year: "Jonker and Volgenant 1987".
    for surname in re.findall(r"([A-Z][\w-]+)(?: et al\.)? (?:19|20)\d\d", source):
        ours = re.sub(r"\{\\.\{?(\w)\}?\}|\\'\{?(\w)\}?", r"\1\2", joined)
        assert surname in ours.replace("{", "").replace("}", ""), surname


def test_couplings_within_options_count_and_each_paper_comes_once():
    found = bibtex(["permuted:of=lapjv", "lapjv:cost=l2", "random"])
    assert found.count("jonker1987shortest") == 1
    assert "fisher1935design" in found
    assert found.startswith("@software{otcouplingsbench,")
    assert [paper.key for paper in papers_of(["my_project.nearest"])] == ["otcouplingsbench"]


def test_the_command_prints_the_papers_of_the_couplings_named(capsys, tmp_path, monkeypatch):
    assert main(["--bibtex", "knn", "sinkhorn:epsilon=0.1"]) == 0
    found = capsys.readouterr().out
    assert re.findall(r"^@\w+\{(\w+),$", found, re.MULTILINE) == [
        *("otcouplingsbench", "cuturi2013sinkhorn", "feydy2019interpolating", "li2025improved")
    ]
    assert main(["--bibtex"]) == 0
    assert capsys.readouterr().out == f"{bibtex()}\n"
    assert main(["--bibtex", "sinkhron"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_the_citation_file_names_the_project_as_the_entry_does():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = fields(papers()[0].bibtex)
    assert f"title: {project['title'].replace('{', '').replace('}', '')}\n" in text
    assert f"version: {__version__}\n" in text
    assert project["version"] == __version__
