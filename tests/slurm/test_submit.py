import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from slurm.job import RunTask
from slurm.submit import main, make_executor, run_locally
from slurm.sweep import parse

ROOT = Path(__file__).parents[2]
SWEEP = """
name = "study"
[base]
data = "digits"
[grid]
coupling = ["random", "lapjv"]
seed = [0, 1, 2]
[resources]
minutes = 45
cpus = 3
gpus = 1
memory_gb = 6
partition = "short"
account = "lab"
extra = {qos = "low"}
"""


@pytest.fixture
def sweep_file(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP)
    return path


def fake_command(folder, name, script):
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch):
    """A cluster that keeps the script it is given, as submitted.sh, and runs nothing."""
    folder = tmp_path / "bin"
    folder.mkdir()
    fake_command(folder, "srun", "exit 1")
    fake_command(folder, "sbatch", f'cp "$1" {tmp_path}/submitted.sh && echo "Submitted batch job 4242"')
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def no_slurm(monkeypatch):
    monkeypatch.setenv("PATH", "")


def directives(text):
    return dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, re.MULTILINE))


def test_dry_run_shows_runs_and_script_and_leaves_nothing(sweep_file, tmp_path, no_slurm, capsys):
    runs = tmp_path / "runs"
    assert main([str(sweep_file), "--dry-run", "--max-parallel", "4", "--runs", str(runs)]) == 0
    output = capsys.readouterr().out
    assert "study: 6 runs" in output
    assert "   4  coupling=lapjv seed=1\n" in output
    asked = directives(output)
    expected = {
        "array": "0-5%4",
        "time": "45",
        "cpus-per-task": "3",
        "gpus-per-node": "1",
        "mem": "6GB",
        "partition": "short",
        "account": "lab",
        "qos": "low",
        "job-name": "study",
        "signal": "USR2@90",
    }
    assert expected.items() <= asked.items()
    command = next(line for line in output.splitlines() if line.startswith("srun "))
    assert " --cpus-per-task=3 " in command
    assert not runs.exists()


def test_dry_run_on_this_machine_shows_the_runs_alone(sweep_file, tmp_path, capsys):
    assert main([str(sweep_file), "--dry-run", "--cluster", "local", "--runs", str(tmp_path / "runs")]) == 0
    output = capsys.readouterr().out
    assert "coupling=random seed=0" in output
    assert "#SBATCH" not in output


def test_slurm_gets_the_script_of_the_dry_run_as_one_array(sweep_file, tmp_path, fake_slurm, capsys):
    runs = tmp_path / "runs"
    arguments = [str(sweep_file), "--runs", str(runs), "--max-parallel", "2"]
    assert main(arguments) == 0
    assert "submitted as job 4242" in capsys.readouterr().out
    assert main([*arguments, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    submitted = (tmp_path / "submitted.sh").read_text()
    assert shown[shown.index("#!/bin/bash") :].strip() == submitted.strip()
    assert directives(submitted)["array"] == "0-5%2"
    pickles = sorted(path.name for path in (runs / "logs/4242").glob("*_submitted.pkl"))
    assert pickles == [f"4242_{index}_submitted.pkl" for index in range(6)]


def test_a_refusal_by_sbatch_is_one_line(sweep_file, tmp_path, fake_slurm, capsys):
    fake_command(fake_slurm, "sbatch", "echo 'sbatch: error: invalid partition: short' >&2; exit 1")
    assert main([str(sweep_file), "--runs", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err.strip()
    assert error.splitlines()[-1].startswith("error: sbatch refuses")
    assert "invalid partition: short" in error


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (("seed", "sed"), [], "sed"),
        (("[grid]", "[gird]"), [], "Did you mean 'grid'"),
        (("minutes = 45", "minutes = 2"), [], "minutes must be"),
        (("study", "study"), ["--max-parallel", "0"], "--max-parallel must be 1 or more"),
    ],
)
def test_bad_input_is_one_line_and_submits_nothing(
    sweep_file, tmp_path, fake_slurm, capsys, change, arguments, message
):
    sweep_file.write_text(SWEEP.replace(*change))
    assert main([str(sweep_file), "--runs", str(tmp_path / "runs"), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err
    assert not (tmp_path / "submitted.sh").exists()
    assert not (tmp_path / "runs").exists()


def test_without_slurm_the_other_way_is_named(sweep_file, tmp_path, no_slurm, capsys):
    assert main([str(sweep_file), "--runs", str(tmp_path / "runs")]) == 2
    assert "--cluster local" in capsys.readouterr().err


def test_the_command_refuses_a_missing_file_with_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "slurm.submit", str(tmp_path / "no.toml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path / 'no.toml'}: No such file or directory\n"


# Notes when it ran; started with company it waits for the other to start, alone it takes its time.
_TASK = """
import json, pathlib, sys, time
begin = time.time()
pathlib.Path({me!r}).with_suffix('.started').touch()
while {other!r} and not pathlib.Path({other!r}).with_suffix('.started').exists():
    if time.time() > begin + 20:
        sys.exit('the other run never started')
    time.sleep(0.05)
time.sleep({pause})
pathlib.Path({me!r}).write_text(json.dumps([begin, time.time()]))
"""


def timed_tasks(folder, together):
    a, b = str(folder / "a"), str(folder / "b")
    pause = 0 if together else 1.5
    pairs = [(a, b if together else ""), (b, a if together else "")]
    sources = [_TASK.format(me=me, other=other, pause=pause) for me, other in pairs]
    return [functools.partial(exec, source) for source in sources]


@pytest.mark.parametrize("limit", [1, 2])
def test_on_this_machine_no_more_than_the_limit_run_at_once(tmp_path, limit):
    sweep = parse({"name": "study", "resources": {"minutes": 5}})
    executor = make_executor(sweep, "local", tmp_path / "logs", None)
    jobs = run_locally(executor, timed_tasks(tmp_path, together=limit == 2), limit)
    assert [job.exception() for job in jobs] == [None, None]
    first, second = (json.loads((tmp_path / name).read_text()) for name in "ab")
    if limit == 1:
        assert first[1] < second[0]
    else:
        assert max(first[0], second[0]) < min(first[1], second[1])


# What the jobs' processes import as bench.arm: one line in a file for every step, from where the file ends.
_RUN = """
import sys, time, types

def run_arm(config, runs_dir, execution, data_dir):
    if getattr(config, "seed", 0) == 13:
        raise RuntimeError("out of luck")
    file = runs_dir / f"{getattr(config, 'seed', 0)}.steps"
    runs_dir.mkdir(exist_ok=True)
    with file.open("a") as steps:
        steps.write("start ")
        for step in range(len([w for w in file.read_text().split() if w != "start"]), 8):
            time.sleep(STEP_S)
            steps.write(f"{step} ")
            steps.flush()

sys.modules["bench.arm"] = types.ModuleType("bench.arm")
sys.modules["bench.arm"].run_arm = run_arm
"""


@pytest.fixture
def stand_in_run(tmp_path, monkeypatch):
    """Give the jobs' processes the run above instead of a training; returns a function to set its speed."""

    def install(step_s):
        folder = tmp_path / "site"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(f"STEP_S = {step_s}\n{_RUN}")
        monkeypatch.setenv("PYTHONPATH", f"{folder}:{ROOT}")

    return install


def test_a_sweep_on_this_machine_waits_and_tells_what_failed(sweep_file, tmp_path, stand_in_run, capsys):
    stand_in_run(step_s=0)
    grid = {"[0, 1, 2]": "[7, 13]", '["random", "lapjv"]': '["lapjv"]', "gpus = 1": "gpus = 0"}
    for old, new in grid.items():
        sweep_file.write_text(sweep_file.read_text().replace(old, new))
    runs = tmp_path / "runs"
    arguments = ["--cluster", "local", "--max-parallel", "2", "--runs", str(runs)]
    assert main([str(sweep_file), *arguments]) == 1
    *_, done, failed = capsys.readouterr().out.splitlines()
    assert done == "done    coupling=lapjv seed=7"
    assert failed.startswith("failed  coupling=lapjv seed=13  see ")
    assert "out of luck" in Path(failed.split()[-1]).read_text()
    assert (runs / "7.steps").read_text() == "start 0 1 2 3 4 5 6 7 "


def test_a_run_that_reaches_its_limit_is_resubmitted_and_goes_on(tmp_path, stand_in_run):
    stand_in_run(step_s=1.1)
    sweep = parse({"name": "study", "resources": {"minutes": 5}})
    executor = make_executor(sweep, "local", tmp_path / "logs", None)
    # Submitit takes fractions of a minute below its checks: warned after 8 s, killed after 10.
    executor._executor.update_parameters(timeout_min=10 / 60, signal_delay_s=2)
    task = RunTask(None, tmp_path / "runs", None, "cpu", threads=1)
    (job,) = run_locally(executor, [task], 1)
    assert job.exception() is None
    steps = (tmp_path / "runs/0.steps").read_text().split()
    assert steps.count("start") >= 2
    assert [step for step in steps if step != "start"] == [str(step) for step in range(8)]
