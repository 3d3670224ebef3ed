"""Figures are the same whatever a user's matplotlib is set to."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

from reports.build import main
from reports.figures.drawing import drawing_style

ROOT = Path(__file__).parents[3]
OWN = """
svg.fonttype: path
font.size: 31
axes.prop_cycle: cycler("color", ["ff0000"])
lines.markersize: 40
axes.facecolor: black
xtick.direction: in
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Builds the report of one folder of runs in a process with the given variables; its bytes."""
    from tests.reports.conftest import ARMS, make_run

    runs = tmp_path_factory.mktemp("drawn")
    for arm in ARMS:
        for seed in (0, 1):
            make_run(runs, arm, seed)

    def build(folder, **variables):
        env = {key: value for key, value in os.environ.items() if not key.startswith("MPL")}
        env |= {"PYTHONPATH": str(ROOT), **{key: str(value) for key, value in variables.items()}}
        command = [sys.executable, "-m", "reports.build", str(runs), "--out", str(folder)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=folder)
        assert done.returncode == 0, done.stderr
        return (folder / "report.html").read_bytes()

    return build


@pytest.fixture(scope="module")
def plain(report, tmp_path_factory):
    page = report(tmp_path_factory.mktemp("plain"))
    assert page.count(b"<svg") > 3
    return page


@pytest.mark.parametrize(
    "backend", ["module://matplotlib_inline.backend_inline", "TkAgg", "no such backend"]
)
def test_a_backend_of_a_notebook_or_a_display_is_not_needed(report, plain, tmp_path, backend):
    assert report(tmp_path, MPLBACKEND=backend) == plain


@pytest.mark.parametrize("where", ["file", "configuration", "working folder"])
def test_a_users_settings_do_not_reach_the_figures(report, plain, tmp_path, where):
    settings = tmp_path / "matplotlibrc"
    settings.write_text(OWN)
    variables = {
        "file": {"MATPLOTLIBRC": settings},
        "configuration": {"MPLCONFIGDIR": tmp_path},
        "working folder": {},
    }
    assert report(tmp_path, **variables[where]) == plain


def test_settings_that_cannot_be_read_or_kept_do_not_matter(report, plain, tmp_path):
    (tmp_path / "damaged").write_bytes(b"font.family: \xff\xfe\n")
    (tmp_path / "in the way").write_text("no folder")
    variables = {"MATPLOTLIBRC": tmp_path / "damaged", "MPLCONFIGDIR": tmp_path / "in the way"}
    assert report(tmp_path, **variables) == plain


def test_who_imported_matplotlib_before_keeps_their_settings(tmp_path, make):
    make(tmp_path / "runs")
    with matplotlib.rc_context({"font.size": 31, "text.usetex": True}):  # no TeX is asked for
        before = dict(matplotlib.rcParams)
        assert main([str(tmp_path / "runs")]) == 0
        assert dict(matplotlib.rcParams) == before
        with drawing_style({"font.size": 9}):
            assert (matplotlib.rcParams["font.size"], matplotlib.rcParams["text.usetex"]) == (
                9,
                False,
            )
        assert dict(matplotlib.rcParams) == before


def test_the_first_import_leaves_the_environment_as_it_was():
    code = (
        "import os; from reports.figures.drawing import load_matplotlib as load; load();"
        " print(os.environ.get('MPLBACKEND'))"
    )
    for backend in (None, "module://none"):
        env = {key: value for key, value in os.environ.items() if not key.startswith("MPL")}
        env |= {"MPLBACKEND": backend} if backend else {}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True
        )
        assert done.stdout == f"{backend}\n", done.stderr
