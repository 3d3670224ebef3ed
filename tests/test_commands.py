"""Commands run our packages, in folders that hold others of the same names too."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("bench", "couplings", "models", "reports", "slurm")
THEIRS = "raise SystemExit('a module of the user was run')\n"
COMMANDS = [
    "bench.run",
    "bench.evaluate",
    "bench.solve",
    "bench.speed",
    "reports.build",
    "reports.diff",
    "slurm.submit",
    "slurm.status",
    "slurm.cancel",
]
# What the command would import later, in its own process and in one that it starts.
PROBE = """
from importlib.util import find_spec
from multiprocessing import get_context

# Found, not imported: that takes seconds.
ROOMS = ("bench", "couplings", "models", "reports", "slurm")

def show():
    print(*(find_spec(room).origin for room in ROOMS), sep="\\n", flush=True)

if __name__ == "__main__":
    show()
    child = get_context("spawn").Process(target=show)
    child.start()
    child.join()
"""


def environment(**more):
    """Without the path that would put ours first anyway."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "PYTHONSAFEPATH")
    }
    return kept | {key: str(value) for key, value in more.items()}


@pytest.fixture(scope="module", params=["checkout", "site-packages"])
def installed(request, tmp_path_factory):
    """A copy of the packages, which Python finds after the working folder."""
    place = tmp_path_factory.mktemp("installed") / request.param
    for room in ROOMS:
        shutil.copytree(ROOT / room, place / room, ignore=shutil.ignore_patterns("__pycache__"))
    (place / "slurm/probe.py").write_text(PROBE)
    (place / "bench/probe.py").write_text(PROBE)
    (place / "reports/probe.py").write_text(PROBE)
    return place


def write_theirs(folder, except_for):
    for room in ROOMS:
        if room == except_for:
            continue
        if room in ("models", "slurm"):
            (folder / room).mkdir()
            (folder / room / "__init__.py").write_text(THEIRS)
        else:
            (folder / f"{room}.py").write_text(THEIRS)


@pytest.mark.parametrize("room", ["bench", "reports", "slurm"])
def test_a_command_and_its_processes_take_all_packages_from_one_place(installed, tmp_path, room):
    write_theirs(tmp_path, except_for=room)
    command = [sys.executable, "-m", f"{room}.probe", "an", "argument"]
    done = subprocess.run(
        command, env=environment(PYTHONPATH=installed), cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(installed / each / "__init__.py") for each in ROOMS] * 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_starts_where_a_user_has_packages_of_these_names(tmp_path, command):
    write_theirs(tmp_path, except_for=command.split(".")[0])
    words = [sys.executable, "-m", command, "--help"]
    done = subprocess.run(
        words, env=environment(PYTHONPATH=ROOT), cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"python -m {command}" in done.stdout
    # Paragraphs of a description are not wrapped.
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_a_program_that_imports_us_keeps_its_path(tmp_path):
    """Also one that is run by ``python -m`` itself and imports us while its own package is
    imported.
    """
    package = tmp_path / "mine"
    package.mkdir()
    look = (
        "import sys\nbefore = list(sys.path)\nimport bench, couplings, reports, slurm\nassert"
        " sys.path == before\n"
    )
    (package / "__init__.py").write_text(look)
    (package / "train.py").write_text(look + "import mine\nprint('kept', sys.path[0])\n")
    (tmp_path / "script.py").write_text(look + "print('kept', sys.path[0])\n")
    for words in (
        ["-m", "mine.train", "-m", "bench.run"],
        ["script.py"],
        ["-c", look + "print('kept', sys.path[0])"],
    ):
        done = subprocess.run(
            [sys.executable, *words],
            env=environment(PYTHONPATH=ROOT),
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        expected = "" if words[0] == "-c" else str(tmp_path)
        assert done.stdout == f"kept {expected}\n", done.stderr


def test_the_rooms_with_commands_look_for_the_others_in_the_same_way():
    """None may import the others, so each has the lines of its own."""
    texts = [(ROOT / room / "__init__.py").read_text() for room in ("bench", "reports", "slurm")]
    shared = {re.search(r"\n# ``python -m``.*", text, re.DOTALL)[0] for text in texts}
    assert len(shared) == 1
