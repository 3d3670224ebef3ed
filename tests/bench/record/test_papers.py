"""The papers of metrics, features, data sets and objectives: none without what it describes."""

import pkgutil
import re

import pytest

from bench import data, features, metrics
from bench.record.papers import FILE, cited, keywords_of
from couplings.papers import papers, read_papers
from models import objectives


def modules_of(package):
    """Names of the plug-ins of a package."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return [name.replace("_", "-") for name in names if not name.startswith("_")]


def keys(text):
    return re.findall(r"^@\w+\{([\w-]+),$", text, re.MULTILINE)


def test_entries_are_whole_and_name_what_there_is():
    known = {f"objective/{name}" for name in modules_of(objectives)}
    known |= {f"data/{name}" for name in modules_of(data)}
    known |= {f"features/{name}" for name in modules_of(features)}
    for name in metrics.names():
        known |= {f"metric/{info.name.rstrip('_')}" for info in metrics.load(name).infos}
    for paper in read_papers(FILE):
        assert paper.bibtex.count("{") == paper.bibtex.count("}"), paper.key
        assert re.search(r"^  (title|author|year) ", paper.bibtex, re.MULTILINE), paper.key
        assert paper.couplings, paper.key
        assert set(paper.couplings) <= known | {"metric/fid_infinity"}, paper.key


def test_a_paper_of_both_files_is_the_same_in_them():
    ours = {paper.key: paper.bibtex for paper in papers()}
    both = [paper for paper in read_papers(FILE) if paper.key in ours]
    assert "karras2022elucidating" in [paper.key for paper in both]
    for paper in both:
        assert paper.bibtex == ours[paper.key]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("fid", ["heusel2017gans", "szegedy2016rethinking"]),
        ("fd_dinov2", ["heusel2017gans", "oquab2024dinov2", "stein2023exposing"]),
        ("fd_infinity_pixels", ["heusel2017gans", "chong2020effectively"]),
        ("kid_classifier", ["binkowski2018demystifying"]),
        ("recall_pixels", ["kynkaanniemi2019improved"]),
        ("coverage_pixels", ["naeem2020reliable"]),
        ("w2", ["bonneel2011displacement"]),
        ("npe", ["tong2024simulation"]),
        ("train_seconds", []),
        ("fdx_y", []),
    ],
)
def test_a_metric_brings_its_papers_and_those_of_its_features(metric, expected):
    found = keys(cited([], keywords_of([metric], [], [])))
    assert found == ["otcouplingsbench", *expected]


def test_data_and_objectives_are_cited_and_nothing_twice():
    keywords = keywords_of([], ["cifar10", "my_project.spirals"], ["edm", "flow:t=logit-normal"])
    found = keys(cited(["random"], keywords))
    assert found == [
        *("otcouplingsbench", "karras2022elucidating", "lipman2023flow", "krizhevsky2009learning")
    ]
