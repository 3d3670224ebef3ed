"""A sweep takes the runs that other machines have finished."""

import json
import shutil

import pytest

from bench.evaluation.ledger import Ledger
from bench.record import RunFolder, write_json
from reports.bundle import bundle
from slurm.submit import main
from slurm.sweep import read
from tests.reports.conftest import measurements


def finished(entry, runs):
    """The folder of a run of the sweep with all that it asks for."""
    folder = RunFolder(runs / entry.run_id)
    write_json(folder.path / "config.json", entry.config.identity)
    origin = {"seed": entry.config.seed, "data_checksum": "digits", "device": "cpu"}
    write_json(folder.path / "provenance.json", origin)
    folder.add(measurements(entry.config.coupling, entry.config.seed))
    Ledger(folder, {}, {}).finish(entry.config)
    folder.set_status("done")
    return folder


@pytest.fixture
def elsewhere(sweep_file, tmp_path):
    """The runs of the sweep's first coupling in another folder, and a bundle of them."""
    # No GPU: submitit's local executor would ask for one.
    sweep_file.write_text(sweep_file.read_text().replace("gpus = 1", "gpus = 0"))
    entries = read(sweep_file).entries()
    for entry in entries[:3]:
        finished(entry, tmp_path / "there")
    (tmp_path / "there" / entries[0].run_id / "checkpoint.pt").write_bytes(b"weights")
    bundle([tmp_path / "there"], tmp_path / "there.zip")
    return entries


@pytest.mark.parametrize("ending", ["", ".zip"])
def test_what_others_have_finished_is_not_trained_again(
    sweep_file, elsewhere, tmp_path, fake_slurm, capsys, ending
):
    runs = tmp_path / "runs"
    words = [str(sweep_file), "--runs", str(runs), "--have", str(tmp_path / f"there{ending}")]
    assert main([*words, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "3 runs would be taken from" in shown
    assert "3 done, 3 pending" in shown
    assert not runs.exists()
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "3 runs are taken from" in said
    assert "3 done, 3 pending" in said
    assert "#SBATCH --array=0-2" in fake_slurm.scripts()["4242"]
    for entry in elsewhere[:3]:
        folder = RunFolder(runs / entry.run_id)
        assert folder.is_done()
        assert folder.measurements() == RunFolder(tmp_path / "there" / entry.run_id).measurements()
        assert not (folder.path / "checkpoint.pt").exists()
    # Later submissions need no bundle: the runs are here.
    assert main(words[:3]) == 0
    assert "3 done" in capsys.readouterr().out


def test_a_run_that_was_begun_here_is_resumed(sweep_file, elsewhere, tmp_path, fake_slurm, capsys):
    begun = RunFolder(tmp_path / "runs" / elsewhere[0].run_id)
    begun.set_status("running", stage="training")
    (begun.path / "checkpoint.pt").write_bytes(b"half of it")
    words = [str(sweep_file), "--runs", str(tmp_path / "runs")]
    assert main([*words, "--have", str(tmp_path / "there.zip")]) == 0
    assert "2 done, 1 stopped, 3 pending" in capsys.readouterr().out
    assert (begun.path / "checkpoint.pt").read_bytes() == b"half of it"


def test_a_run_that_lacks_rows_of_the_sweep_is_not_taken(sweep_file, elsewhere, tmp_path, capsys):
    sweep_file.write_text(sweep_file.read_text().replace("[base]", "[base]\nnfe = [5, 99]"))
    words = [str(sweep_file), "--runs", str(tmp_path / "runs"), "--cluster", "local", "--dry-run"]
    assert main([*words, "--have", str(tmp_path / "there.zip")]) == 0
    out = capsys.readouterr().out
    assert "0 runs would be taken" in out
    assert "6 pending" in out


def test_a_sweep_of_which_all_is_held_gets_its_report(sweep_file, elsewhere, tmp_path, fake_slurm):
    for entry in elsewhere[3:]:
        finished(entry, tmp_path / "more")
    words = [str(sweep_file), "--runs", str(tmp_path / "runs"), "--have"]
    assert main([*words, str(tmp_path / "there.zip"), str(tmp_path / "more")]) == 0
    assert fake_slurm.scripts() == {}
    report = tmp_path / "runs/sweeps/study/results.csv"
    assert len(report.read_text().splitlines()) == 1 + 6 * len(measurements("random", 0))


def test_a_study_that_cannot_be_read_is_one_line(sweep_file, elsewhere, tmp_path, capsys):
    foreign = tmp_path / "foreign"
    shutil.copytree(tmp_path / "there", foreign)
    path = foreign / elsewhere[0].run_id / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seed": 9}))
    (tmp_path / "photos.zip").write_bytes(b"PK")
    words = [str(sweep_file), "--runs", str(tmp_path / "runs"), "--cluster", "local", "--have"]
    for study, part in (
        (tmp_path / "photos.zip", "is not a bundle"),
        (tmp_path / "nowhere", "does not exist"),
        (foreign, "another configuration"),
    ):
        assert main([*words, str(study)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert part in error
    assert not list((tmp_path / "runs").glob("digits-*"))
