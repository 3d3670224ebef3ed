"""The published studies: each can be made again, and its page says what its CSV says."""

import re
import tomllib
from pathlib import Path

import pytest

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
