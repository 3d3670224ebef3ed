import os
import shutil
from pathlib import Path

import pytest

# Imported before any test: it sets up logging, which closes the streams that pytest captures.
import submitit  # noqa: F401

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


class FakeSlurm:
    """A cluster that runs nothing: it keeps its scripts, and a test sets its answers."""

    def __init__(self, folder):
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir()
        fake_command(self.bin, "srun", "exit 1")
        counting = (
            f'n=$(cat {folder}/count); echo $((n + 1)) > {folder}/count; cp "$1" {folder}/$n.sh'
        )
        fake_command(self.bin, "sbatch", f'{counting}; echo "Submitted batch job $n"')
        fake_command(self.bin, "squeue", f"cat {folder}/queue")
        fake_command(self.bin, "scontrol", 'echo "MaxArraySize            = 1001"')
        fake_command(self.bin, "scancel", f'echo "$@" >> {folder}/cancelled')
        (folder / "count").write_text("4242")
        (folder / "queue").write_text("")

    def answer(self, name, script):
        fake_command(self.bin, name, script)

    def hold(self, sweep_folder, **states):
        """Let the queue hold jobs: ``j4242_0="RUNNING"``."""
        lines = [f"{job[1:]}|{state}|{sweep_folder.path}\n" for job, state in states.items()]
        (self.folder / "queue").write_text("".join(lines))

    def scripts(self):
        return {path.stem: path.read_text() for path in sorted(self.folder.glob("*.sh"))}

    def cancelled(self):
        path = self.folder / "cancelled"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch):
    folder = tmp_path / "fake-slurm"
    folder.mkdir()
    fake = FakeSlurm(folder)
    monkeypatch.setenv("PATH", f"{fake.bin}:{os.environ['PATH']}")
    return fake


@pytest.fixture
def no_slurm(tmp_path, monkeypatch):
    """A machine with git and a shell, and no SLURM."""
    folder = tmp_path / "no-slurm"
    folder.mkdir()
    for tool in ("git", "sh"):
        (folder / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(folder))


# What the jobs' processes import as bench.arm: one line in a file for every step, from where the
# file ends.
_RUN = """
import sys, time, types

def run_arm(config, runs_dir, execution, data_dir):
    if config.seed == 13:
        raise RuntimeError("out of luck")
    file = runs_dir / f"{config.seed}.steps"
    runs_dir.mkdir(exist_ok=True)
    with file.open("a") as steps:
        steps.write("start ")
        for step in range(len([w for w in file.read_text().split() if w != "start"]), 8):
            time.sleep(STEP_S)
            steps.write(f"{step} ")
            steps.flush()

sys.modules["bench.arm"] = types.ModuleType("bench.arm")
sys.modules["bench.arm"].run_arm = run_arm
sys.modules["reports.build"] = types.ModuleType("reports.build")
"""


@pytest.fixture
def stand_in_run(tmp_path, monkeypatch):
    """Give the jobs' processes the run above instead of a training; returns a function to set its
    speed.
    """

    def install(step_s):
        folder = tmp_path / "site"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(f"STEP_S = {step_s}\n{_RUN}")
        monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path(__file__).parents[2]}")

    return install
