import functools
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.record import RunFolder, write_json
from slurm import plan
from slurm.executor import script, tasks_of
from slurm.folder import SweepFolder
from slurm.local import local_executor, run_locally
from slurm.resources import Resources
from slurm.snapshot import Snapshot
from slurm.submit import main
from slurm.sweep import parse, read

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"


def directives(text):
    return dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, re.MULTILINE))


def neutral(script, folder):
    """A script without the paths of this machine and the commit of the day."""
    script = script.replace(str(folder), "RUNS").replace(sys.executable, "PYTHON")
    return re.sub(r"code/[0-9a-f]{12}(-[0-9a-f]{8})?", "code/COMMIT", script)


def submit(file, runs, *more, code=0):
    assert main([str(file), "--runs", str(runs), *map(str, more)]) == code


@pytest.fixture
def finish(monkeypatch):
    """Makes a run of a sweep one that is trained; measured it is if it has no file that says
    otherwise.
    """
    monkeypatch.setattr(
        "bench.evaluation.ledger.is_finished",
        lambda run, evaluation: not (run.path / "more").exists(),
    )
    return lambda folder, run_id: RunFolder(folder.runs_dir / run_id).set_status("done")


CLASSES = {
    "array": ({}, 8, 4),
    "alone": ({"minutes": 3}, 1, None),
    "two-nodes": (
        {"nodes": 2, "gpus": 4, "cpus": 8, "constraint": "a100", "extra": {"exclude": "node7"}},
        3,
        None,
    ),
}


@pytest.mark.parametrize("name", CLASSES)
def test_the_sbatch_script_is_the_golden_one(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["/bin/python3", "-m", "slurm.submit", "my study.toml"])
    table, count, limit = CLASSES[name]
    sweep = parse({"name": "study", "grid": {"seed": list(range(count))}, "resources": table})
    (array,) = plan.arrays(sweep.entries(), 100)
    folder = SweepFolder(tmp_path, "study")
    code = Snapshot(folder.path / "code/0123456789ab", "0123456789ab", None)
    text = neutral(script(array, "study", folder, code, limit), tmp_path)
    assert text == (GOLDEN / f"{name}.sbatch").read_text()


def test_dry_run_shows_arms_and_script_and_leaves_nothing(sweep_file, tmp_path, no_slurm, capsys):
    runs = tmp_path / "runs"
    submit(sweep_file, runs, "--dry-run", "--max-parallel", 4)
    output = capsys.readouterr().out
    assert "study: 6 runs" in output
    assert "  coupling=lapjv   seeds 0-2: 3 pending\n" in output
    assert "training time: unknown for 6 runs" in output
    assert "no SLURM here: assuming at most 1001 tasks per array" in output
    asked = directives(output)
    assert (asked["array"], asked["time"], asked["qos"], asked["gpus-per-node"]) == (
        "0-5%4",
        "45",
        "low",
        "1",
    )
    assert not runs.exists()


def test_dry_run_on_this_machine_shows_the_runs_alone(sweep_file, tmp_path, capsys):
    submit(sweep_file, tmp_path / "runs", "--dry-run", "--cluster", "local")
    output = capsys.readouterr().out
    assert "coupling=random" in output
    assert "#SBATCH" not in output


def test_slurm_gets_the_script_of_the_dry_run_and_then_the_report(
    sweep_file, tmp_path, fake_slurm, capsys
):
    runs = tmp_path / "runs"
    submit(sweep_file, runs, "--max-parallel", 2, "--dry-run")
    shown = capsys.readouterr().out
    submit(sweep_file, runs, "--max-parallel", 2)
    assert "submitted as job 4242; job 4243 builds" in capsys.readouterr().out
    scripts = fake_slurm.scripts()
    assert shown[shown.index("#!/bin/bash") :].strip() == scripts["4242"].strip()
    assert directives(scripts["4242"])["array"] == "0-5%2"
    report = directives(scripts["4243"])
    assert report["dependency"] == "afterany:4242"
    assert (report["partition"], report["account"], report["qos"]) == ("short", "lab", "low")
    assert "array" not in report
    assert "gpus-per-node" not in report
    folder = SweepFolder(runs, "study")
    pickles = sorted(path.name for path in (folder.path / "logs/4242").glob("*_submitted.pkl"))
    assert pickles == [f"4242_{index}_submitted.pkl" for index in range(6)]
    jobs = folder.jobs()
    assert list(jobs.runs.values()) == [f"4242_{index}" for index in range(6)]
    assert jobs.report == "4243"


def test_the_manifest_is_written_before_anything_is_submitted(
    sweep_file, tmp_path, fake_slurm, capsys
):
    runs = tmp_path / "runs"
    folder = SweepFolder(runs, "study")
    fake_slurm.answer("sbatch", f"test -e {folder.path}/manifest.json && echo there >&2; exit 1")
    submit(sweep_file, runs, code=2)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: sbatch refuses")
    assert "there" in error
    manifest = folder.manifest()
    assert [run["run_id"] for run in manifest["runs"]] == [
        entry.run_id for entry in read(sweep_file).entries()
    ]
    assert manifest["sweep"] == sweep_file.read_text()
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert manifest["code"]["git_sha"] == head.stdout.strip()


def test_resource_classes_and_large_sweeps_are_several_arrays(
    sweep_file, tmp_path, fake_slurm, capsys
):
    sweep_file.write_text(
        sweep_file.read_text() + '[[override]]\nmatch = {coupling = "lapjv"}\ncpus = 9\n'
    )
    fake_slurm.answer("scontrol", 'echo "MaxArraySize            = 2"')
    submit(sweep_file, tmp_path / "runs", "--max-parallel", 2)
    assert "submitted as job 4242, 4243, 4244, 4245; job 4246 builds" in capsys.readouterr().out
    asked = [directives(text) for text in fake_slurm.scripts().values()]
    assert [part.get("array") for part in asked] == ["0-1%2", None, "0-1%2", None, None]
    assert [part["cpus-per-task"] for part in asked] == ["3", "3", "9", "9", "1"]
    # No more than two at a time over all of them: each waits for the one before.
    assert [part.get("dependency") for part in asked] == [
        None,
        "afterany:4242",
        "afterany:4243",
        "afterany:4244",
        "afterany:4242:4243:4244:4245",
    ]


def test_thousands_of_runs_are_planned_in_arrays_that_the_cluster_takes(
    tmp_path, fake_slurm, capsys
):
    file = tmp_path / "large.toml"
    file.write_text(f'name = "large"\n[grid]\ncoupling = ["lapjv"]\nseed = {list(range(2500))}\n')
    submit(file, tmp_path / "runs", "--dry-run")
    output = capsys.readouterr().out
    assert "large: 2500 runs" in output
    for number, runs in ((1, 1001), (2, 1001), (3, 498)):
        assert f"array {number} of 3: {runs} runs" in output
    assert output.count("#!/bin/bash") == 1


def test_done_and_queued_and_failed_runs_are_skipped(
    sweep_file, tmp_path, fake_slurm, finish, capsys
):
    runs = tmp_path / "runs"
    submit(sweep_file, runs)
    folder = SweepFolder(runs, "study")
    first, second, third, fourth, *_ = folder.run_ids()
    finish(folder, first)
    write_json(
        folder.path / "attempts" / f"{second}.json", {"state": "failed", "reason": "out of luck"}
    )
    folder.log("4242_1").write_text(
        "Traceback\nValueError: out of luck\nsrun: error: task 0: Exited\n"
    )
    write_json(folder.path / "attempts" / f"{third}.json", {"state": "running"})
    fake_slurm.hold(folder, j4242_3="PENDING", j4242_4="RUNNING", j4243="PENDING")
    capsys.readouterr()
    submit(sweep_file, runs)
    output = capsys.readouterr().out
    assert "1 done, 1 running, 1 queued, 1 failed, 2 stopped" in output
    assert f"failed  {second}  ValueError: out of luck\n" in output
    assert "submitted as job 4244; job 4245 builds" in output
    assert folder.jobs().runs[third] == "4244_0"
    assert folder.jobs().runs[fourth] == "4242_3"
    assert directives(fake_slurm.scripts()["4245"])["dependency"] == "afterany:4242:4244"
    fake_slurm.hold(
        folder, j4242_3="PENDING", j4242_4="RUNNING", j4244_0="PENDING", j4244_1="PENDING"
    )
    submit(sweep_file, runs, "--retry-failed")
    assert folder.jobs().runs[second] == "4246"
    assert folder.attempt(second) == {}


def test_an_array_that_was_not_written_down_is_not_submitted_again(
    sweep_file, tmp_path, fake_slurm, capsys
):
    folder = SweepFolder(tmp_path / "runs", "study")
    fake_slurm.hold(folder, j77_0="PENDING")
    submit(sweep_file, tmp_path / "runs", code=2)
    assert "scancel 77" in capsys.readouterr().err
    assert fake_slurm.scripts() == {}


def test_a_silent_slurm_is_no_reason_to_submit_again(sweep_file, tmp_path, fake_slurm, capsys):
    fake_slurm.answer(
        "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1"
    )
    submit(sweep_file, tmp_path / "runs", code=2)
    assert "Unable to contact slurm controller" in capsys.readouterr().err
    assert fake_slurm.scripts() == {}


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (("seed", "sed"), [], "sed"),
        (("[grid]", "[gird]"), [], "did you mean grid"),
        (("minutes = 45", "minutes = 1"), [], "minutes must be"),
        (("study", "study"), ["--max-parallel", "0"], "--max-parallel must be 1 or more"),
        (("gpus = 1", "nodes = 2"), ["--cluster", "local"], "resources.nodes is for a cluster"),
        (("gpus = 1", "processes = 2"), ["--cluster", "debug"], "use --cluster local"),
    ],
)
def test_bad_input_is_one_line_and_submits_nothing(
    sweep_file, tmp_path, fake_slurm, capsys, change, arguments, message
):
    sweep_file.write_text(sweep_file.read_text().replace(*change))
    submit(sweep_file, tmp_path / "runs", *arguments, code=2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err
    assert fake_slurm.scripts() == {}
    assert not (tmp_path / "runs").exists()


def test_without_slurm_the_other_way_is_named(sweep_file, tmp_path, no_slurm, capsys):
    submit(sweep_file, tmp_path / "runs", code=2)
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
    a = str(folder / "a")
    b = str(folder / "b")
    pause = 0 if together else 1.5
    pairs = [(a, b if together else ""), (b, a if together else "")]
    sources = [_TASK.format(me=me, other=other, pause=pause) for me, other in pairs]
    return [functools.partial(exec, source) for source in sources]


@pytest.mark.parametrize("limit", [1, 2])
def test_on_this_machine_no_more_than_the_limit_run_at_once(tmp_path, limit):
    executor = local_executor("local", Resources(), tmp_path / "logs", [])
    jobs = run_locally(
        [(executor, task) for task in timed_tasks(tmp_path, together=limit == 2)], limit
    )
    assert [job.exception() for job in jobs] == [None, None]
    first, second = (json.loads((tmp_path / name).read_text()) for name in "ab")
    if limit == 1:
        assert first[1] < second[0]
    else:
        assert max(first[0], second[0]) < min(first[1], second[1])


def test_a_sweep_on_this_machine_waits_and_tells_what_failed(
    sweep_file, tmp_path, stand_in_run, capsys, monkeypatch
):
    monkeypatch.setattr(
        "slurm.local.ReportTask.__call__", lambda self: print("report of", *self.run_ids)
    )
    stand_in_run(step_s=0)
    grid = {"[0, 1, 2]": "[7, 13]", '["random", "lapjv"]': '["lapjv"]', "gpus = 1": "gpus = 0"}
    for old, new in grid.items():
        sweep_file.write_text(sweep_file.read_text().replace(old, new))
    runs = tmp_path / "runs"
    submit(sweep_file, runs, "--cluster", "local", "--max-parallel", 2, code=1)
    *_, done, failed, report = capsys.readouterr().out.splitlines()
    assert done == "done    coupling=lapjv seed=7"
    assert failed.startswith("failed  coupling=lapjv seed=13  see ")
    assert "out of luck" in Path(failed.split()[-1]).read_text(encoding="utf-8")
    assert (runs / "7.steps").read_text() == "start 0 1 2 3 4 5 6 7 "
    folder = SweepFolder(runs, "study")
    assert report.split()[2:] == folder.run_ids()
    assert folder.attempt(folder.run_ids()[1])["reason"] == "out of luck"
    assert folder.last_line(folder.jobs().runs[folder.run_ids()[1]]) == "RuntimeError: out of luck"


def test_a_run_that_reaches_its_limit_is_resubmitted_and_goes_on(tmp_path, stand_in_run):
    stand_in_run(step_s=3)
    (entry,) = parse({"name": "study", "resources": {"minutes": 5, "cpus": 1}}).entries()
    executor = local_executor("local", entry.resources, tmp_path / "logs", [])
    # Submitit takes fractions of a minute below its checks: warned after 15 s, killed after 45.
    # A process of a busy machine needs several seconds until its first step, and to save.
    executor._executor.update_parameters(timeout_min=45 / 60, signal_delay_s=30)
    (task,) = tasks_of((entry,), SweepFolder(tmp_path / "runs", "study"), None)
    (job,) = run_locally([(executor, replace(task))], 1)
    assert job.exception() is None
    steps = (tmp_path / "runs/0.steps").read_text().split()
    assert steps.count("start") >= 2
    assert [step for step in steps if step != "start"] == [str(step) for step in range(8)]


def test_the_time_is_estimated_from_recorded_runs_of_the_same_network(sweep_file, tmp_path, capsys):
    runs = tmp_path / "runs"
    entry, *_ = read(sweep_file).entries()
    recorded = [(100, "cuda", 1), (300, "cuda:0", 1), (400, "cuda", 2), (1, "cpu", 1)]
    for number, (speed, device, processes) in enumerate(recorded):
        path = runs / f"old{number}"
        write_json(path / "config.json", entry.config.identity)
        write_json(path / "provenance.json", {"device": device, "processes": processes})
        (path / "metrics.jsonl").write_text(
            json.dumps({"metric": "images_per_s", "value": speed}) + "\n"
        )
    submit(sweep_file, runs, "--dry-run", "--cluster", "local")
    # Median of 100, 300 and 200 for one GPU.
    hours = 6 * entry.config.training.images / 200 / 3600
    assert f"training time: {hours:.3g} GPU-hours\n" in capsys.readouterr().out


def test_a_finished_run_of_which_more_is_to_be_measured_is_not_skipped(
    sweep_file, tmp_path, fake_slurm, finish
):
    submit(sweep_file, tmp_path / "runs")
    folder = SweepFolder(tmp_path / "runs", "study")
    for run_id in folder.run_ids():
        finish(folder, run_id)
    (folder.runs_dir / folder.run_ids()[2] / "more").touch()
    before = folder.jobs().runs
    submit(sweep_file, tmp_path / "runs")
    again = [run_id for run_id, job in folder.jobs().runs.items() if job != before[run_id]]
    assert again == [folder.run_ids()[2]]
