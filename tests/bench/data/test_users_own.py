"""A data set of a user's own: one file in the working folder, and no other edit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import data
from bench.benchmarks.pools import Pools
from bench.benchmarks.settings import shape_of
from bench.check import make
from bench.record import RunFolder

ROOT = Path(__file__).parents[3]
SPIRALS = """
import math
from pathlib import Path

import torch

from bench.data import Dataset, Split

SHAPE = (2, 1, 1)
CLASSES = 2


def load(data_dir: Path | None = None) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % CLASSES
    angle = 3 * math.pi * torch.rand(400, generator=generator).sqrt()
    turn = angle + math.pi * labels
    points = torch.stack([angle * turn.cos(), angle * turn.sin()], dim=1) / 10
    images = points.reshape(-1, *SHAPE)
    train = Split(images[:300], labels[:300])
    test = Split(images[300:], labels[300:])
    return Dataset("spirals", train, test, CLASSES, bounded=False)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A package ``my_project``, whose data set ``spirals`` can be imported."""
    package = tmp_path / "my_project"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "spirals.py").write_text(SPIRALS)
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.startswith("my_project")]:
        del sys.modules[name]


def test_it_is_found_by_the_path_of_its_module(project):
    dataset = data.load("my_project.spirals")
    assert dataset.name == "my_project.spirals"
    assert dataset.image_shape == (2, 1, 1)
    config = make(None, {"data": "my_project.spirals"})
    assert config.run_id.startswith("my_project.spirals-random-")
    assert data.is_users_own("my_project.spirals")


def test_both_benchmarks_take_it(project):
    pools = Pools("my_project.spirals", None, seed=0)
    pools.check(300)
    assert pools.draw(16, 0).images.shape == (16, 2)
    assert shape_of("my_project.spirals") == ((2, 1, 1), 2)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("SHAPE = (2, 1, 1)\n", "SHAPE = (1, 2, 1)\n", r"states SHAPE \(1, 2, 1\)"),
        ("SHAPE = (2, 1, 1)\n", "", "must state SHAPE"),
        ("test, CLASSES", "test, 3", "CLASSES 2, but"),
        ("import math", "import mathh", "needs mathh"),
        (
            'return Dataset("spirals", train, test, CLASSES, bounded=False)',
            "return train, test",
            r"my_project.spirals: load\(data_dir\) must return a bench.data.Dataset, got tuple",
        ),
        ("data_dir: Path | None = None", "", r"accept data_dir: def load\(data_dir=None\)"),
        ("def load(", "def read(", r"accept data_dir: def load\(data_dir=None\)"),
        ("images[:300]", "images[:300] / 0", r"hold NaN or infinite values \(300 of 300\)"),
        ("images[300:]", "images[300:].log()", "my_project.spirals: images hold NaN"),
    ],
)
def test_a_file_that_is_no_data_set_is_refused_with_the_reason(project, old, new, words):
    (project / "spirals.py").write_text(SPIRALS.replace(old, new, 1).replace("*SHAPE", "2, 1, 1"))
    with pytest.raises(data.DataError, match=words):
        data.load("my_project.spirals")


def test_an_error_inside_load_keeps_its_own_words(project):
    text = SPIRALS.replace("torch.arange(400)", "torch.arange(400, nothing=1)")
    (project / "spirals.py").write_text(text)
    with pytest.raises(TypeError, match="arange"):
        data.load("my_project.spirals")


def test_a_command_compares_couplings_on_it(project, tmp_path, tiny_flags):
    """In a process of its own, which finds the package in the working folder."""
    command = [sys.executable, "-m", "bench.run", "--data", "my_project.spirals", *tiny_flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--no-baseline", "--features", "pixels", "--device", "cpu"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "my_project.spirals: 300 training and 100 held-out points" in done.stdout
    (path,) = (tmp_path / "runs").glob("my_project.spirals-lapjv-*")
    assert RunFolder(path).is_done()
    assert "my_project.spirals" in (tmp_path / "runs/results.csv").read_text()
    assert "my_project.spirals" in (tmp_path / "runs/report.html").read_text()
