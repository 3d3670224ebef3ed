"""Submission under the variables, folders and silent clusters of users: what reaches sbatch, what
needs no SLURM.
"""

import os
import re
from pathlib import Path

import pytest

from slurm import cancel, status
from slurm.folder import SweepFolder
from slurm.submit import main


def submit(file, runs, *more, code=0):
    assert main([str(file), "--runs", str(runs), *more]) == code


def environment_of_sbatch(sweep_file, tmp_path, fake_slurm):
    fake_slurm.answer("sbatch", f"env > {tmp_path}/env; echo Submitted batch job 7")
    submit(sweep_file, tmp_path / "runs")
    return dict(
        line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line
    )


def test_jobs_do_not_inherit_the_job_they_are_submitted_from(
    sweep_file, tmp_path, fake_slurm, monkeypatch
):
    inside = {
        "SLURM_JOB_ID": "77",
        "SLURM_NTASKS": "64",
        "SLURM_CONF": "here.conf",
        "SLURM_CLUSTERS": "one",
    }
    for name, value in inside.items():
        monkeypatch.setenv(name, value)
    seen = environment_of_sbatch(sweep_file, tmp_path, fake_slurm)
    assert {key: value for key, value in seen.items() if key in inside} == {
        "SLURM_CONF": "here.conf",
        "SLURM_CLUSTERS": "one",
    }
    assert os.environ["SLURM_NTASKS"] == "64"


@pytest.mark.parametrize("job", [None, "77"])
def test_the_users_account_and_partition_reach_sbatch_unless_the_sweep_says_others(
    sweep_file, tmp_path, fake_slurm, monkeypatch, job
):
    if job:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    said = ("ACCOUNT", "PARTITION", "QOS")
    for name in (*said, "RESERVATION", "CONSTRAINT"):
        monkeypatch.setenv(f"SBATCH_{name}", f"my-{name}")
    for name in ("TIMELIMIT", "COMMENT", "NO_REQUEUE", "WAIT", "ARRAY_INX", "JOB_NAME", "SIGNAL"):
        monkeypatch.setenv(f"SBATCH_{name}", "1")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")

    def placed(seen):
        return {key: value for key, value in seen.items() if key.startswith("SBATCH_")}

    free = {"SBATCH_RESERVATION": "my-RESERVATION", "SBATCH_CONSTRAINT": "my-CONSTRAINT"}
    # Of the job that builds the report, which is submitted last, the sweep says the same.
    assert placed(environment_of_sbatch(sweep_file, tmp_path, fake_slurm)) == free
    lines = [
        line
        for line in sweep_file.read_text().splitlines()
        if not line.startswith(("partition", "acc", "extra"))
    ]
    sweep_file.write_text("\n".join(lines))
    seen = environment_of_sbatch(sweep_file, tmp_path, fake_slurm)
    assert placed(seen) == free | {f"SBATCH_{name}": f"my-{name}" for name in said}
    assert ("SLURM_TIME_FORMAT" in seen) is (job is None)
    assert os.environ["SBATCH_WAIT"] == "1"


def silence(fake_slurm):
    """A machine with SLURM's commands and no cluster."""
    for name in ("squeue", "scontrol", "scancel", "sbatch", "srun"):
        fake_slurm.answer(name, "echo 'fetch_config: DNS SRV lookup failed' >&2; exit 1")


@pytest.mark.parametrize("silent", ["squeue", "scontrol", "all"])
def test_a_dry_run_needs_no_slurm_that_answers(sweep_file, tmp_path, fake_slurm, capsys, silent):
    if silent == "all":
        silence(fake_slurm)
    else:
        fake_slurm.answer(silent, "echo 'fetch_config: DNS SRV lookup failed' >&2; exit 1")
    submit(sweep_file, tmp_path / "runs", "--dry-run")
    captured = capsys.readouterr()
    (line,) = [line for line in captured.out.splitlines() if "no answer from SLURM" in line]
    assert "DNS SRV lookup failed" in line
    assert line.endswith("assuming at most 1001 tasks per array")
    assert re.findall(r"^#SBATCH --array=(.*)$", captured.out, re.MULTILINE) == ["0-5%6"]
    assert captured.err == ""


def shrink(sweep_file, seeds):
    """One coupling and these seeds, without a GPU."""
    text = sweep_file.read_text()
    for old, new in {
        "[0, 1, 2]": seeds,
        '["random", "lapjv"]': '["lapjv"]',
        "gpus = 1": "gpus = 0",
    }.items():
        text = text.replace(old, new)
    sweep_file.write_text(text)


def test_on_this_machine_runs_may_be_kept_anywhere(
    sweep_file, tmp_path, stand_in_run, fake_slurm, capsys, monkeypatch
):
    """As everywhere on this machine, without a SLURM that answers."""
    monkeypatch.setattr("slurm.local.ReportTask.__call__", lambda self: None)
    silence(fake_slurm)
    stand_in_run(step_s=0)
    shrink(sweep_file, "[7, 13]")
    runs = tmp_path / 'it\'s "so" für %A %j 100%'
    submit(sweep_file, runs, "--cluster", "local", code=1)
    output = capsys.readouterr().out.splitlines()
    assert (runs / "7.steps").read_text() == "start 0 1 2 3 4 5 6 7 "
    assert "done    coupling=lapjv seed=7" in output
    (failed,) = [line for line in output if line.startswith("failed  coupling=lapjv seed=13  see ")]
    log = Path(failed.split("  see ")[1])
    assert runs in log.parents
    assert "out of luck" in log.read_text(encoding="utf-8")
    folder = SweepFolder(runs, "study")
    assert folder.last_line(folder.jobs().runs[folder.run_ids()[1]]) == "RuntimeError: out of luck"
    for module, code in ((status, 1), (cancel, 0)):
        assert module.main(["study", "--runs", str(runs)]) == code
        captured = capsys.readouterr()
        assert captured.err == ""
    assert captured.out.startswith("no SLURM job of study is known")


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_job_script_cannot_hold_a_percent_sign(sweep_file, tmp_path, fake_slurm, capsys, more):
    submit(sweep_file, tmp_path / "50%a", *more, code=2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "choose --runs without '%', or --cluster local" in error
    assert fake_slurm.scripts() == {}
    assert not (tmp_path / "50%a").exists()
