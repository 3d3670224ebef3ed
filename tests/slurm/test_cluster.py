"""Sweeps on a real SLURM of one node: ``slurm/dev_cluster.sh start``, and ``SLURM_CONF`` as it
says.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from bench.arm import run_arm
from bench.check import make
from bench.config import Execution
from bench.record import RunFolder
from slurm.folder import SweepFolder

ROOT = Path(__file__).parents[2]
CONF = Path(os.environ.get("SLURM_CONF", "/nowhere"))
PATIENCE_S = 300
TINY = {
    "model_channels": 8,
    "images": 320,
    "batch": 32,
    "pool": 64,
    "nfe": [3],
    "samples": 64,
    "trajectories": 8,
    "reference_steps": 8,
    "rhos": [7],
    "metrics": ["truncation"],
}

pytestmark = pytest.mark.skipif(
    not CONF.is_file() or "ClusterName=ot-dev" not in CONF.read_text(encoding="utf-8"),
    reason="no one-node SLURM: slurm/dev_cluster.sh start, then export SLURM_CONF as it says",
)

# Trains slowly and saves often, so that a signal reaches it in mid training on any machine.
_SLOW = """
import sys
if "submitit.core._submit" in sys.orig_argv:
    import time
    from functools import partial
    from bench.training import loop as train
    step = train.Stepper.__call__
    train.train = partial(train.train, check_every=10, checkpoint_seconds=0.2)

    def slow(self, pairs):
        time.sleep(0.05)
        return step(self, pairs)

    train.Stepper.__call__ = slow
"""


def toml(value):
    return json.dumps(value)  # the same for numbers, texts and lists of them


def write_sweep(path, name, base, grid, more=""):
    lines = [
        f'name = "{name}"',
        "[base]",
        *(f"{k} = {toml(v)}" for k, v in {**TINY, **base}.items() if k not in grid),
    ]
    lines += ["[grid]", *(f"{k} = {toml(v)}" for k, v in grid.items())]
    lines += ["[resources]", "minutes = 10", "cpus = 1", "memory_gb = 1", more]
    path.write_text("\n".join(lines) + "\n")
    return path


def command(module, *args):
    return [sys.executable, "-m", f"slurm.{module}", *map(str, args)]


def call(module, *args, code=0):
    done = subprocess.run(command(module, *args), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def slurm(*args):
    done = subprocess.run(args, capture_output=True, text=True)
    assert done.returncode == 0, f"{args}: {done.stderr}"
    return done.stdout


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}: {slurm('squeue')}"
        time.sleep(0.3)
    return found


def queue(folder):
    lines = slurm("squeue", "--array", "--noheader", "--format=%i|%T|%k").splitlines()
    return {
        line.split("|")[0]: line.split("|")[1] for line in lines if line.endswith(f"|{folder.path}")
    }


def wait_until_idle(folder):
    wait_for("the end of the sweep", lambda: not queue(folder))


def run_ids(folder):
    return {run["label"]: run["run_id"] for run in folder.manifest()["runs"]}


def network(path):
    return torch.load(path / "checkpoint.pt", weights_only=True)


@pytest.fixture
def runs(tmp_path):
    """A folder for runs; its jobs are cancelled at the end, also those of a failed test."""
    yield tmp_path / "runs"
    for sweep in (tmp_path / "runs/sweeps").glob("*"):
        if held := queue(SweepFolder(tmp_path / "runs", sweep.name)):
            slurm("scancel", *held)


def restart_slurmctld():
    pid_file = CONF.parent / "slurmctld.pid"
    pid = int(pid_file.read_text())
    os.kill(pid, 15)
    wait_for("slurmctld to stop", lambda: not Path(f"/proc/{pid}").exists())
    stopped = subprocess.run(["squeue"], capture_output=True).returncode
    subprocess.run(["slurmctld"], check=True)
    wait_for("slurmctld", lambda: subprocess.run(["squeue"], capture_output=True).returncode == 0)
    return stopped


def test_eight_runs_two_at_a_time_through_one_array_and_a_restart_of_slurmctld(runs, tmp_path):
    grid = {"coupling": ["random", "lapjv"], "pool": [32, 64], "seed": [0, 1]}
    file = write_sweep(tmp_path / "eight.toml", "eight", {"data": "digits"}, grid)
    output = call("submit", file, "--runs", runs, "--max-parallel", 2)
    folder = SweepFolder(runs, "eight")
    jobs = folder.jobs()
    (array,) = {job.split("_")[0] for job in jobs.runs.values()}
    assert f"submitted as job {array}; job {jobs.report} builds" in output
    most = 0

    def two_are_done():
        nonlocal most
        states = queue(folder)
        most = max(
            most, sum(state == "RUNNING" for job, state in states.items() if job != jobs.report)
        )
        return sum(job != jobs.report for job in states) <= 6

    wait_for("two runs", two_are_done)
    assert most == 2
    assert restart_slurmctld() != 0
    wait_until_idle(folder)
    ids = set(run_ids(folder).values())
    assert len(ids) == 8
    for run_id in ids:
        run = RunFolder(runs / run_id)
        assert run.is_done()
        keys = [m.key for m in run.measurements()]
        assert len(keys) == len(set(keys))
        assert run.provenance()["git_sha"] == folder.manifest()["code"]["git_sha"]
    rows = (folder.path / "results.csv").read_text().splitlines()
    counts = Counter(line.split(",")[0] for line in rows[1:] if ",images_per_s," in line)
    assert counts == dict.fromkeys(ids, 1)
    assert "8 runs: 8 done" in call("status", file, "--runs", runs)
    again = call("submit", file, "--runs", runs)
    assert "nothing to submit" in again
    assert "training time: nothing left" in again
    assert queue(folder) == {}


@pytest.fixture
def slow_training(tmp_path, monkeypatch):
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_SLOW)
    monkeypatch.setenv("PYTHONPATH", f"{site}:{ROOT}")


@pytest.mark.usefixtures("slow_training")
def test_runs_that_are_requeued_or_signalled_end_with_the_weights_of_undisturbed_ones(
    runs, tmp_path
):
    base = {"data": "moons", "coupling": "lapjv", "images": 4800}
    file = write_sweep(tmp_path / "stops.toml", "stops", base, {"seed": [0, 1]})
    call("submit", file, "--runs", runs)
    folder = SweepFolder(runs, "stops")
    ids = folder.run_ids()
    jobs = folder.jobs().runs
    for run_id in ids:
        wait_for("mid training", (runs / run_id / "checkpoint.pt").exists)
    slurm("scontrol", "requeue", jobs[ids[0]])
    slurm("scancel", "--signal=USR1", jobs[ids[1]])
    undisturbed = [make(None, {**TINY, **base, "seed": seed}) for seed in (0, 1)]
    assert [config.run_id for config in undisturbed] == ids
    for config in undisturbed:
        run_arm(config, tmp_path / "undisturbed", Execution(device="cpu"), progress=False)
    wait_until_idle(folder)
    for run_id in ids:
        assert folder.attempt(run_id)["restarts"] == 1, folder.last_line(jobs[run_id])
        run = RunFolder(runs / run_id)
        assert run.is_done()
        assert len(run.provenance()["earlier_sessions"]) == 1
        resumed = network(run.path)
        expected = network(tmp_path / "undisturbed" / run_id)
        for part in ("net", "ema"):
            for key, value in expected[part].items():
                assert torch.equal(resumed[part][key], value), (part, key)
    assert (folder.path / "report.html").exists()


def mount(*args):
    done = subprocess.run(["mount", *map(str, args)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(
            "a full disk and a read-only folder need mounts, which are not permitted here:"
            f" {done.stderr}"
        )


@pytest.fixture
def mounts():
    places = []
    yield places
    for place in places:
        subprocess.run(["umount", "--lazy", str(place)], capture_output=True)


def test_failures_are_told_and_retried_alone(runs, tmp_path, mounts):
    file = write_sweep(
        tmp_path / "trouble.toml", "trouble", {"data": "moons"}, {"seed": [0, 1, 2, 3]}
    )
    fine, damaged, read_only, full = (
        runs / make(None, {**TINY, "data": "moons", "seed": seed}).run_id for seed in range(4)
    )
    for path in (damaged, read_only, full):
        path.mkdir(parents=True)
    (damaged / "config.json").write_text("{")
    mounts += [read_only, full]
    mount("--bind", read_only, read_only)
    mount("-o", "remount,bind,ro", read_only)
    mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", full)
    call("submit", file, "--runs", runs)
    folder = SweepFolder(runs, "trouble")
    wait_until_idle(folder)
    assert RunFolder(fine).is_done()
    finished = (fine / "status.json").read_text()
    status = call("status", file, "--runs", runs, code=1)
    assert "4 runs: 1 done, 3 failed" in status
    reasons = {line.split()[0]: line for line in status.splitlines() if line.startswith("  moons")}
    assert "config.json cannot be read: move the folder away" in reasons[damaged.name]
    assert "Read-only file system" in reasons[read_only.name]
    assert "No space left on device" in reasons[full.name]
    assert "No space left" in call("status", "trouble", "--runs", runs, "--log", "seed3")
    assert (folder.path / "report.html").exists()

    passed = call("submit", file, "--runs", runs)
    assert "nothing to submit" in passed
    lines = {line.split()[1]: line for line in passed.splitlines() if line.startswith("failed ")}
    assert "OSError: [Errno 28] No space left on device" in lines[full.name]
    (damaged / "config.json").unlink()
    mount("-o", "remount,bind,rw", read_only)
    mount("-o", "remount,size=64m", full)
    before = folder.jobs().runs
    call("submit", file, "--runs", runs, "--retry-failed")
    retried = {run_id for run_id, job in folder.jobs().runs.items() if job != before[run_id]}
    assert retried == {damaged.name, read_only.name, full.name}
    wait_until_idle(folder)
    assert "4 runs: 4 done" in call("status", file, "--runs", runs)
    assert (fine / "status.json").read_text() == finished


def test_a_full_disk_is_told_before_anything_is_submitted(runs, tmp_path, mounts):
    file = write_sweep(tmp_path / "nowhere.toml", "nowhere", {"data": "moons"}, {"seed": [0]})
    runs.mkdir()
    mounts.append(runs)
    mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", runs)
    error = call("submit", file, "--runs", runs, code=2).splitlines()[-1]
    assert error.startswith("error: cannot copy the code")
    assert "No space left on device" in error
    mount("-o", "remount,ro", runs)
    assert "Read-only file system" in call("submit", file, "--runs", runs, code=2)
    assert queue(SweepFolder(runs, "nowhere")) == {}


@pytest.fixture
def closed_partition():
    """Jobs queue and none starts."""
    slurm("scontrol", "update", "PartitionName=dev", "State=DOWN")
    yield
    slurm("scontrol", "update", "PartitionName=dev", "State=UP")


def test_two_submissions_at_once_submit_each_run_once(runs, tmp_path, closed_partition):
    file = write_sweep(tmp_path / "twice.toml", "twice", {"data": "moons"}, {"seed": [0, 1, 2, 3]})
    both = [
        subprocess.Popen(
            command("submit", file, "--runs", runs), cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = sorted(
        (process.communicate()[0] for process in both), key=lambda text: "nothing to submit" in text
    )
    assert [process.returncode for process in both] == [0, 0]
    assert ["submitted as job" in text for text in outputs] == [True, False]
    assert "4 runs into" in outputs[1]
    assert "4 queued" in outputs[1]
    folder = SweepFolder(runs, "twice")
    jobs = folder.jobs()
    assert set(queue(folder)) == {*jobs.runs.values(), jobs.report}
    assert "4 runs: 4 queued" in call("status", file, "--runs", runs)

    # A submission that is killed between sbatch and writing its jobs down must not lead to a second
    # array.
    content = (folder.path / "jobs.json").read_text()
    (folder.path / "jobs.json").unlink()
    assert "did not record it" in call("submit", file, "--runs", runs, code=2)
    (folder.path / "jobs.json").write_text(content)

    assert "cancelled 4 runs" in call("cancel", file, "--runs", runs)
    wait_until_idle(folder)
    assert "4 runs: 4 stopped" in call("status", file, "--runs", runs)


@pytest.mark.usefixtures("slow_training")
def test_processes_of_one_run_share_its_batches_and_are_queued_again_together(runs, tmp_path):
    base = {"data": "moons", "coupling": "lapjv", "pool_scope": "global", "images": 2400}
    file = write_sweep(tmp_path / "pair.toml", "pair", base, {"seed": [0]}, "processes = 2")
    call("submit", file, "--runs", runs)
    folder = SweepFolder(runs, "pair")
    (run_id,) = folder.run_ids()
    job = folder.jobs().runs[run_id]
    run = RunFolder(runs / run_id)
    wait_for("mid training", (run.path / "checkpoint.pt").exists)
    slurm("scancel", "--signal=USR1", job)
    wait_until_idle(folder)
    assert run.is_done(), folder.last_line(job)
    assert folder.attempt(run_id)["restarts"] == 1
    assert run.provenance()["processes"] == 2
    assert run.provenance()["earlier_sessions"][0]["processes"] == 2
