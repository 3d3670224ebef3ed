"""The sdist and its wheel hold every file of the packages, and work in an empty environment."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("bench", "couplings", "models", "ot_couplings", "reports", "slurm")
BUILD = "import setuptools.build_meta as b, sys; getattr(b, sys.argv[1])(sys.argv[2])"
# The first command of the library's documentation, and one that reads a data file.
TRY = """
import torch, couplings
from couplings import get, papers
g = torch.Generator().manual_seed(0)
pairing = get("lapjv").pair(torch.randn(64, 3, generator=g), torch.randn(64, 3, generator=g))
assert pairing.report["cost_after"] < pairing.report["cost_before"]
assert len(papers.papers()) > 20
print(couplings.__file__)
"""


def built(action, source, out):
    """The only file that a build of the source folder leaves in ``out``."""
    subprocess.run(
        [sys.executable, "-c", BUILD, action, str(out)], cwd=source, check=True, capture_output=True
    )
    (file,) = out.iterdir()
    return file


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the sdist: what pip does for anyone without the repository."""
    pytest.importorskip("setuptools", minversion="77")
    place = tmp_path_factory.mktemp("build")
    # A copy, because setuptools writes into the folder that it builds.
    skipped = shutil.ignore_patterns("__pycache__", "published")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, place / "source" / name, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place / "source" / name)
    for name in ("sdist", "wheel"):
        (place / name).mkdir()
    sdist = built("build_sdist", place / "source", place / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(place / "unpacked", filter="data")
    (unpacked,) = (place / "unpacked").iterdir()
    return built("build_wheel", unpacked, place / "wheel")


def test_it_holds_all_modules_and_data_files_and_nothing_else(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    kept = {".py", ".toml", ".bib", ".html", ".css", ".js", ".sh", ".typed"}
    expected = set()
    for name in PACKAGES:
        for path in (ROOT / name).rglob("*"):
            if path.suffix in kept and "published" not in path.parts:
                expected.add(path.relative_to(ROOT).as_posix())
    assert {"couplings/py.typed", "couplings/papers.bib", "bench/presets/digits.toml"} <= expected
    assert held == expected


def requirements():
    """Distributions of the dependencies without extras, and all that these need."""
    found = {}
    todo = list(PROJECT["dependencies"])
    while todo:
        line = todo.pop()
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        # Markers of other systems, versions and extras
        if name in found or "extra ==" in line:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        todo += found[name].requires or []
    return found


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_it_couples_where_only_its_dependencies_are_installed(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    for dist in requirements().values():
        for top in {file.parts[0] for file in dist.files or ()} - {"..", "__pycache__"}:
            place = site / top
            if not place.exists():
                place.symlink_to(dist.locate_file(top))
    # Neither the repository nor the other packages of this environment: -I leaves out the working
    # folder and PYTHONPATH, -S the installed packages.
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n{TRY}"
    made = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == str(site / "couplings/__init__.py")
