"""Commands whose output ends before they do, and terminals without some letters; real processes
throughout.
"""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SIGPIPE_CODE = -signal.SIGPIPE  # as Popen has it; a shell says 141

# Prints more than a pipe holds, on both streams, and leaves a file when it is through.
TALKER = """
import sys
from pathlib import Path
from bench.process.console import {kind}

def main():
    for number in range(20_000):
        print("line", number, "of many", flush=number % 100 == 0)
        if number % 1000 == 0:
            print("progress", number, file=sys.stderr)
    Path(sys.argv[1]).write_text("through")
    return 3

sys.exit({kind}(main))
"""


def start(code, *args, **options):
    return subprocess.Popen(
        [sys.executable, *options.pop("flags", []), "-c", code, *args], cwd=ROOT, **options
    )


@pytest.mark.parametrize("flags", [[], ["-u"]])
def test_work_is_done_though_its_pipe_ends(tmp_path, flags):
    code = TALKER.format(kind="worker")
    process = start(
        code, str(tmp_path / "end"), flags=flags, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"line 0 of many\n"
    process.stdout.close()
    assert process.wait(60) == 3
    lines = process.stderr.read().decode().splitlines()
    process.stderr.close()
    assert lines == [f"progress {number}" for number in range(0, 20_000, 1000)]
    assert (tmp_path / "end").read_text() == "through"


def test_work_is_done_though_both_its_streams_are_a_terminal_that_closes(tmp_path):
    ours, theirs = pty.openpty()
    process = start(
        TALKER.format(kind="worker"),
        str(tmp_path / "end"),
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    assert os.read(ours, 4) == b"line"
    os.close(ours)
    assert process.wait(60) == 3
    assert (tmp_path / "end").exists()


def test_all_that_is_read_arrives(tmp_path):
    process = start(
        TALKER.format(kind="worker"),
        str(tmp_path / "end"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    text = process.communicate(timeout=60)[0].decode()
    assert text == "".join(f"line {number} of many\n" for number in range(20_000))


def test_what_only_prints_ends_with_its_reader_and_without_a_word(tmp_path):
    code = TALKER.format(kind="reader")
    process = start(code, str(tmp_path / "end"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"line 0 of many\n"
    process.stdout.close()
    assert process.wait(60) == SIGPIPE_CODE
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert not (tmp_path / "end").exists()


@pytest.mark.parametrize("kind", ["worker", "reader"])
def test_letters_that_a_terminal_lacks_are_spelled(kind):
    code = f"""
from bench.process.console import {kind}
raise SystemExit({kind}(lambda: print("×1.5, −9 %, 2 ± 1, Fréchet, \\u4f60, \\udcff")))
"""
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    process = start(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert out == b"x1.5, -9 %, 2 +/- 1, Frechet, \\u4f60, \\udcff\n"


COMMANDS = {
    "bench.run": "worker",
    "bench.evaluate": "worker",
    "bench.solve": "worker",
    "bench.speed": "worker",
    "reports.build": "worker",
    "reports.bundle": "worker",
    "reports.reproduction": "worker",
    "slurm.submit": "worker",
    "slurm.cancel": "worker",
    "slurm.status": "reader",
    "reports.diff": "reader",
    "reports.index": "worker",
}


def test_every_command_says_which_it_is():
    """A command that is added chooses too; models.import_edm knows nothing of bench."""
    found = {}
    for room in ("bench", "slurm", "reports"):
        # A command with several files is a package, which Python runs by its __main__.py.
        paths = [*(ROOT / room).glob("*.py"), *(ROOT / room).glob("*/__main__.py")]
        for path in sorted(paths):
            if "__main__" in (text := path.read_text()):
                parts = path.relative_to(ROOT).with_suffix("").parts
                (found[".".join(parts).removesuffix(".__main__")],) = [
                    kind for kind in ("worker", "reader") if f"({kind}(main))" in text
                ]
    assert found == COMMANDS


def test_a_comparison_is_finished_without_its_terminal(tmp_path):
    """``python -m bench.run ... | head -1``"""
    words = [
        "--images",
        "64",
        "--batch",
        "64",
        "--pool",
        "64",
        "--samples",
        "32",
        "--metrics",
        "samples",
        "--nfe",
        "3",
        "--rhos",
        "--model-channels",
        "8",
        "--channel-mult",
        "1",
        "--features",
        "pixels",
        "--no-baseline",
        "--runs",
        str(tmp_path),
    ]
    command = [sys.executable, "-m", "bench.run", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert any(line.startswith(b"[1/1]") for line in process.stdout)
    process.stdout.close()
    errors = process.stderr.read().decode()
    assert process.wait(120) == 0, errors
    process.stderr.close()
    assert "Traceback" not in errors
    assert (tmp_path / "report.html").exists()
