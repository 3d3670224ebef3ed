from types import SimpleNamespace

import pytest

from bench.record import RunFolder, write_json
from slurm import cancel, status
from slurm.folder import Jobs, SweepFolder
from slurm.sweep import read


@pytest.fixture
def folder(sweep_file, tmp_path):
    """A sweep of six runs that was submitted as jobs 7_0 to 7_5 and report 8."""
    sweep = read(sweep_file)
    folder = SweepFolder(tmp_path / "runs", sweep.name)
    entries = sweep.entries()
    folder.write_manifest(sweep, entries, sweep_file.read_text(), {})
    folder.write_jobs(Jobs({entry.run_id: f"7_{n}" for n, entry in enumerate(entries)}, "8"))
    return folder


def show(folder, *more, code=0, module=status):
    assert module.main([folder.path.name, "--runs", str(folder.runs_dir), *more]) == code


def say(folder, run_id, **what):
    write_json(folder.path / "attempts" / f"{run_id}.json", what)


def test_every_state_is_told_from_our_own_files_and_the_queue(folder, fake_slurm, capsys):
    done, failed, broken, running, queued, stopped = folder.run_ids()
    RunFolder(folder.runs_dir / done).set_status("done")
    say(folder, failed, state="failed", reason="the data is missing")
    RunFolder(folder.runs_dir / broken).set_status("failed", reason="the loss is no longer finite")
    say(folder, running, state="running")
    RunFolder(folder.runs_dir / queued).set_status("failed", reason="of an earlier attempt")
    RunFolder(folder.runs_dir / stopped).set_status("running")
    folder.log("7_5").parent.mkdir(parents=True)
    folder.log("7_5").write_text("step 3\nslurmstepd: error: *** CANCELLED ***\n")
    fake_slurm.hold(folder, j7_3="RUNNING", j7_4="PENDING", j8="PENDING")
    show(folder, code=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "study: 6 runs: 1 done, 1 running, 1 queued, 2 failed, 1 stopped"
    assert f"  {failed}  7_1  the data is missing" in lines
    assert f"  {broken}  7_2  the loss is no longer finite" in lines
    assert lines[lines.index(f"  {running}  7_3") - 1].startswith("running")
    assert lines[lines.index(f"  {queued}  7_4") - 1].startswith("queued")
    assert lines[lines.index(f"  {stopped}  7_5  step 3") - 1].startswith("stopped")
    assert not any(done in line for line in lines)


def test_without_an_answer_of_slurm_it_goes_by_what_the_jobs_said(folder, fake_slurm, capsys):
    first, second, *_ = folder.run_ids()
    say(folder, first, state="running")
    say(folder, second, state="failed", reason="no")
    fake_slurm.answer("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    show(folder, code=1)
    output = capsys.readouterr().out
    assert "1 running, 1 failed" in output
    assert "Unable to contact slurm controller" in output


def test_the_sweeps_file_names_it_too(folder, sweep_file, fake_slurm, capsys):
    assert status.main([str(sweep_file), "--runs", str(folder.runs_dir)]) == 0
    assert capsys.readouterr().out.startswith("study: 6 runs: 6 stopped")


def test_watching_ends_when_nothing_is_active(folder, fake_slurm, capsys, monkeypatch):
    fake_slurm.hold(folder, j7_0="RUNNING")
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        fake_slurm.hold(folder)

    monkeypatch.setattr(status, "time", SimpleNamespace(sleep=sleep))
    show(folder, "--watch")
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("study:")]
    assert shown == ["study: 6 runs: 1 running, 5 stopped", "study: 6 runs: 6 stopped"]
    assert len(naps) == 1


def test_logs_are_found_by_run(folder, capsys):
    folder.log("7_4").parent.mkdir(parents=True)
    folder.log("7_4").write_text("a word\n")
    show(folder, "--log", folder.run_ids()[4])
    output = capsys.readouterr().out
    assert f"==> {folder.log('7_4')}\na word" in output
    assert "7_4_0_log.out\nnot written yet" in output
    show(folder, "--log", "lapjv", code=2)
    assert "'lapjv' names 3 runs" in capsys.readouterr().err


def test_a_sweep_that_was_never_submitted_is_told(tmp_path, fake_slurm, capsys):
    for module in (status, cancel):
        assert module.main(["nothing", "--runs", str(tmp_path)]) == 2
        assert "submit the sweep first" in capsys.readouterr().err


def test_cancel_takes_the_sweeps_own_jobs_and_the_report_first(
    folder, fake_slurm, tmp_path, capsys
):
    other = SweepFolder(tmp_path / "runs", "other")
    fake_slurm.hold(other, j9_0="RUNNING")
    theirs = (fake_slurm.folder / "queue").read_text()
    fake_slurm.hold(folder, j7_0="RUNNING", j7_3="PENDING", j8="PENDING")
    (fake_slurm.folder / "queue").write_text((fake_slurm.folder / "queue").read_text() + theirs)
    show(folder, module=cancel)
    assert fake_slurm.cancelled() == ["8", "7_0", "7_3"]
    assert "cancelled 2 runs of study" in capsys.readouterr().out


def test_a_damaged_file_of_the_sweep_is_named(folder, fake_slurm, capsys):
    (folder.path / "manifest.json").write_text("{")
    show(folder, code=2)
    assert "manifest.json is damaged" in capsys.readouterr().err


OTHERS = [
    "77|RUNNING|first line\nsecond line",
    "77|RUNNING|one\n\n\nfour | with | pipes",
    "77|RUNNING|",
    "77|RUNNING|(null)",
    "\n",
    "CLUSTER: one",
    "78+0|PENDING|of two parts",
    "77|RUNNING|in\x0bpieces\x85\u2028and a|PENDING|b",
]


@pytest.mark.parametrize("theirs", [text.encode() for text in OTHERS] + [b"77|RUNNING|caf\xe9"])
def test_comments_of_other_jobs_hide_none_of_ours(folder, fake_slurm, capsys, theirs):
    fake_slurm.hold(folder, j7_0="RUNNING", j7_3="PENDING")
    queue = fake_slurm.folder / "queue"
    queue.write_bytes(theirs + b"\n" + queue.read_bytes() + theirs + b"\n")
    show(folder)
    assert "study: 6 runs: 1 running, 1 queued, 4 stopped" in capsys.readouterr().out
    show(folder, module=cancel)
    assert fake_slurm.cancelled() == ["7_0", "7_3"]


def test_variables_do_not_change_what_slurm_is_asked(folder, fake_slurm, monkeypatch, tmp_path):
    names = (
        "SQUEUE_FORMAT",
        "SQUEUE_FORMAT2",
        "SQUEUE_STATES",
        "SQUEUE_USERS",
        "SCANCEL_INTERACTIVE",
        "SACCT_FORMAT",
    )
    for name in (*names, "SLURM_TIME_FORMAT"):
        monkeypatch.setenv(name, "mine")
    monkeypatch.setenv("SLURM_CONF", "here.conf")
    fake_slurm.answer("squeue", f"env > {tmp_path}/env; cat {fake_slurm.folder}/queue")
    fake_slurm.answer("scancel", f"env >> {tmp_path}/env; cat")  # would wait for an answer
    fake_slurm.hold(folder, j7_0="RUNNING")
    show(folder, module=cancel)
    seen = (tmp_path / "env").read_text()
    assert "=mine" not in seen
    assert seen.count("SLURM_CONF=here.conf") == 2
