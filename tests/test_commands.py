"""Commands run our packages, in folders that hold others of the same names too."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.record import MODULES
from ot_couplings.paths import arranged

ROOT = Path(__file__).parent.parent
ROOMS = ("bench", "couplings", "models", "reports", "slurm")
CONSOLE = "ot_couplings"
THEIRS = "raise SystemExit('a module of the user was run')\n"
COMMANDS = [
    "bench.run",
    "bench.evaluate",
    "bench.solve",
    "bench.speed",
    "reports.build",
    "reports.diff",
    "reports.index",
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
SCRIPT = """
import sys
from ot_couplings.command import main

if __name__ == "__main__":
    sys.exit(main())
"""
PLUGIN = '''
"""Nearest to nothing."""

from dataclasses import dataclass

from couplings import Coupling


@dataclass(frozen=True, kw_only=True)
class Nearest(Coupling):
    def solve(self, pool):
        """Pair nothing."""
'''


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
    for room in (*ROOMS, CONSOLE):
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


def console(script, words, **options):
    """Run a script as pip installs it: its own folder comes first on the path."""
    return subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, **options
    )


@pytest.mark.parametrize("theirs_first", [False, True])
def test_the_console_command_takes_our_packages_and_finds_plugins_of_the_user(
    installed, tmp_path, theirs_first
):
    """Also if the user's folder is on the path before ours."""
    project = tmp_path / "project"
    project.mkdir()
    write_theirs(project, except_for=None)
    (project / "mine").mkdir()
    (project / "mine/nearest.py").write_text(PLUGIN)
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/ot-couplings"
    script.write_text(SCRIPT)
    paths = [str(project), str(installed)] if theirs_first else [str(installed)]
    options = {"env": environment(PYTHONPATH=os.pathsep.join(paths)), "cwd": project}
    shown = console(script, ["couplings", "mine.nearest"], **options)
    assert shown.stdout.startswith("mine.nearest  Nearest to nothing."), shown.stderr
    built = console(script, ["report", "--help"], **options)
    assert "usage: ot-couplings report" in built.stdout, built.stderr
    assert "ot-couplings report runs" in built.stdout
    assert "python -m reports.build" not in built.stdout
    (tmp_path / "bin/probe").write_text(
        f"from ot_couplings.paths import arrange\narrange()\n{PROBE}"
    )
    probed = console(tmp_path / "bin/probe", [], **options)
    expected = [str(installed / each / "__init__.py") for each in ROOMS]
    assert probed.stdout.splitlines() == expected * 2, probed.stderr


def test_the_console_command_knows_its_words_and_names_the_near_one(tmp_path):
    script = tmp_path / "ot-couplings"
    script.write_text(SCRIPT)
    options = {"env": environment(PYTHONPATH=ROOT), "cwd": tmp_path}
    text = console(script, [], **options).stdout
    for word in MODULES:
        assert re.search(rf"^  {word} +\w", text, re.MULTILINE), word
    assert max(map(len, text.splitlines())) <= 100
    assert console(script, ["--version"], **options).stdout.startswith("ot-couplings 0.")
    wrong = console(script, ["evalaute"], **options)
    assert wrong.returncode == 2
    assert "did you mean evaluate?" in wrong.stderr
    helped = console(script, ["help", "cancel"], **options)
    assert helped.stdout.startswith("usage: ot-couplings cancel")
    # An error of a command is its exit code, and names commands as they were called.
    refused = console(script, ["run", "--coupling", "help"], **options)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: ot-couplings couplings lists")


def test_folders_keep_their_order_but_for_those_that_hide_ours(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/models.py").touch()
    theirs = str(tmp_path / "theirs")
    path = ["", theirs, "/usr/lib", "/x/site-packages", "/more"]
    assert arranged(path, "/x/site-packages", "/here") == [
        *["/usr/lib", "/x/site-packages", "/more"],
        *[theirs, "/here"],
    ]
    assert arranged(path[:3], "/x", "/here") == ["/x", "/usr/lib", theirs, "/here"]
    # In the checkout itself the working folder is ours.
    assert arranged(path[:3], "/here", "/here") == ["/here", "/usr/lib", theirs]


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
