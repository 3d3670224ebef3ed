"""The published studies: each can be made again, and its page says what its CSV says."""

import re
import tomllib
from pathlib import Path

import pytest

from reports.files.answer import answer_files
from reports.index import overview, render
from reports.tables.groups import groups
from reports.tables.studies import opened
from reports.tables.tidy import read_csv, results
from slurm.sweep import parse

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "reports/published"
STUDIES = sorted(path.parent.name for path in PUBLISHED.glob("*/README.md"))
LIMIT = 8_000_000  # bytes of a page


@pytest.fixture(params=STUDIES)
def study(request):
    return PUBLISHED / request.param


def test_each_says_how_it_is_made(study):
    text = (study / "README.md").read_text()
    assert re.search(r"```\npython -m (slurm\.submit|bench\.)", text)
    for word in ("hardware", "wall time") if any(study.glob("*.html")) else ("missing",):
        assert word in text.lower(), word


def test_its_sweep_is_one(study):
    file = study / "sweep.toml"
    if not file.exists():
        assert re.search(r"python -m bench\.(solve|speed)", (study / "README.md").read_text())
        return
    sweep = parse(tomllib.loads(file.read_text()))
    assert sweep.name == study.name
    assert sweep.entries()


def test_its_page_is_small_and_names_no_folder_of_the_machine(study):
    for file in study.iterdir():
        if file.suffix in (".html", ".csv", ".json", ".md", ".toml", ".tex"):
            found = re.search(
                r"(?<![\w.:/<])/(home|root|tmp|work|opt|mnt|data)/\S*", file.read_text()
            )
            assert not found, (file.name, found)
    for page in study.glob("*.html"):
        assert page.stat().st_size < LIMIT


def results_of(study):
    """The table of a study, or of its bundle where the table would be too large."""
    if (study / "results.csv").exists():
        return read_csv(study / "results.csv")
    with opened([study / "runs.zip"], None) as found:
        return results(found.runs)


@pytest.mark.parametrize("name", [path.parent.name for path in PUBLISHED.glob("*/answer.md")])
def test_its_answer_is_that_of_its_results(name):
    """README shows one of them; numbers of the answer are recomputed in test_page_sections."""
    (text,) = answer_files(groups(results_of(PUBLISHED / name))).values()
    assert (PUBLISHED / name / "answer.md").read_text(encoding="utf-8") == text


def test_readme_shows_the_answer_of_a_study():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"<!-- answer -->\n(.*?)\n<!-- /answer -->", readme, re.DOTALL)
    study = PUBLISHED / "fashion-mnist-16"
    assert shown == (study / "answer.md").read_text(encoding="utf-8").strip()


def test_the_page_over_all_studies_is_that_of_their_results():
    made = render(overview(PUBLISHED, PUBLISHED))
    assert (PUBLISHED / "index.html").read_text(encoding="utf-8") == made
