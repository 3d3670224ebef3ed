"""Measuring trained runs again, as the command does it."""

import dataclasses
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from bench.arm import run_arm
from bench.check import check
from bench.config import ConfigError, Execution
from bench.evaluate import main as command
from bench.evaluate import parse, trained
from bench.evaluation.ledger import Ledger
from bench.guidance.images import GuideError
from bench.record import RunFolder
from bench.record.folder import Session
from bench.sampling.store import SampleStore

CPU = Execution(device="cpu")


def main(words):
    """The command without the report, which takes longer than what is measured here."""
    return command([*words, "--no-report"])


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("original")


@pytest.fixture
def folder(tiny, original, tmp_path) -> RunFolder:
    """A copy of a run that the first test trains."""
    made = run_arm(tiny, original, CPU, progress=False)
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    return RunFolder(tmp_path / made.run_id)


def settings(folder, metric="fd_classifier"):
    return Counter(
        (m.nfe, m.rho, m.sampler, m.split, m.n) for m in folder.measurements() if m.metric == metric
    )


def test_rows_are_added_and_none_is_doubled_or_changed(folder, capsys):
    before = folder.measurements()
    assert command([str(folder), "--nfe", "5", "7", "--metrics", "samples", "--device", "cpu"]) == 0
    after = folder.measurements()
    assert len({m.key for m in after}) == len(after)
    same = {m.key: m.value for m in after}
    assert all(same[m.key] == m.value for m in before if m.metric != "evaluate_seconds")
    added = settings(folder) - Counter((m.nfe, m.rho, m.sampler, m.split, m.n) for m in before
                                       if m.metric == "fd_classifier")  # fmt: skip
    assert added == Counter((7, 7.0, "heun", split, 100) for split in ("train", "test"))
    printed = capsys.readouterr().out
    assert "Added " in printed
    assert f"report:  {folder.path.parent / 'report.html'}" in printed
    assert (folder.path.parent / "results.csv").exists()
    assert folder.is_done()


def test_the_same_again_is_nothing_to_do(folder, monkeypatch):
    before = (folder.path / "metrics.jsonl").read_bytes()
    monkeypatch.setattr("bench.evaluation.subject.sample", None)
    assert main([str(folder), "--device", "cpu"]) == 0
    assert (folder.path / "metrics.jsonl").read_bytes() == before


def test_what_the_run_was_measured_with_is_the_default(folder, tiny):
    assert parse([str(folder)]).evaluation == tiny.evaluation
    fewer = dataclasses.replace(tiny.evaluation, samples=60)
    assert parse([str(folder), "--samples", "60"]).evaluation == fewer
    assert parse(["--samples", "60", str(folder)]).evaluation == fewer  # 60 is no run


def test_each_run_keeps_the_schedule_of_its_objective(tiny, tmp_path):
    training = dataclasses.replace(tiny.training, objective="flow")
    flow = check(dataclasses.replace(tiny, training=training))
    folder = RunFolder(tmp_path / flow.run_id)
    Session(folder).begin(flow.identity, {})
    Ledger(folder, {}, {}).finish(flow)
    # The defaults of the command come from this run, but the second one may be EDM's.
    given = parse([str(folder)]).evaluation
    assert given.schedule == ()
    assert check(dataclasses.replace(flow, evaluation=given)) == flow
    edm = dataclasses.replace(tiny, evaluation=given)
    assert check(edm).evaluation.fixed_schedule == "karras:rho=7"
    # One that was asked for counts for all runs.
    assert parse([str(folder), "--schedule", "flow", "karras"]).evaluation.schedule == (
        "flow",
        "karras",
    )


class Sides(torch.nn.Module):
    """Means of both halves of an image, times a factor: two features."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x.flatten(1).unflatten(1, (2, -1)).mean(2)


def write_network(path: Path, factor: float) -> None:
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.script(Sides(factor)).save(str(path))


def test_another_network_in_the_same_file_is_measured_anew(folder, tmp_path):
    """By its hash, not by its path; the features of before stay recorded."""
    path = tmp_path / "sides.pt"
    words = [str(folder), "--features", f"torchscript:path={path}", "--metrics", "samples", "grid"]
    values, fingerprints = [], []
    for factor in (1.0, 2.0, 1.0):
        write_network(path, factor)
        assert main([*words, "--device", "cpu"]) == 0
        rows = {m.key: m.value for m in folder.measurements()}
        values.append(
            {key: value for key, value in rows.items() if key[0] in ("fd_sides", "grid_fd_sides")}
        )
        fingerprints.append(folder.provenance()["features"])
    first, second, again = values
    assert {key[0] for key in first} == {"fd_sides", "grid_fd_sides"}
    assert again == first
    assert second == {key: pytest.approx(4 * value, rel=1e-4) for key, value in first.items()}
    assert fingerprints[0]["sides"] != fingerprints[1]["sides"]
    assert set(fingerprints[0]) == {"classifier", "pixels", "sides"}
    assert settings(folder)  # those of the classifier are still there


@pytest.mark.parametrize("begun", [False, True])
def test_a_failure_takes_nothing_away(folder, capsys, monkeypatch, begun):
    """Neither where the features cannot be had nor where sampling breaks off: the run can be
    reported as before.
    """
    before = folder.measurements()
    words = [str(folder), "--nfe", "7", "--device", "cpu"]
    if begun:
        monkeypatch.setattr("bench.evaluation.subject.sample", None)
        assert main(words) == 1
        (line,) = [
            line for line in capsys.readouterr().err.splitlines() if line.startswith("error")
        ]
        assert line.startswith(f"error: {folder.run_id}: TypeError: ")
    else:
        assert main([*words, "--features", "torchscript:path=nowhere.pt"]) == 2
        assert "nowhere.pt" in capsys.readouterr().err
    assert folder.is_done()
    assert folder.measurements() == before
    monkeypatch.undo()
    assert main([*words, "--metrics", "truncation"]) == 0


def test_an_error_of_the_first_run_alone_does_not_end_the_others(folder, capsys, monkeypatch):
    measured = []

    def first_fails(config, *args, **options):
        measured.append(config.run_id)
        if len(measured) == 1:
            raise GuideError("16 of 16 samples are not finite")
        return folder

    monkeypatch.setattr("bench.evaluate.run_arm", first_fails)
    assert main([str(folder), str(folder), "--nfe", "7", "--device", "cpu"]) == 1
    assert len(measured) == 2
    assert "samples are not finite" in capsys.readouterr().err


def test_samples_that_were_kept_stay_and_are_used(folder, monkeypatch):
    def kept():
        """Names without their hashes."""
        return {p.name.rpartition("-")[0] for p in (folder.path / "samples").glob("heun-*")}

    words = [str(folder), "--metrics", "samples", "--device", "cpu"]
    assert main([*words, "--nfe", "7", "--keep-samples"]) == 0
    assert kept() == {"heun-nfe7-rho7"}
    assert main([*words, "--nfe", "3", "--samples", "60"]) == 0
    assert kept() == {"heun-nfe7-rho7"}
    monkeypatch.setattr(SampleStore, "add", None)
    assert main([*words, "--nfe", "7", "--samples", "90"]) == 0  # nothing is sampled
    assert settings(folder)[7, 7.0, "heun", "test", 90] == 1


def test_what_is_given_twice_is_measured_once(folder):
    assert (
        main(
            [
                str(folder),
                "--nfe",
                "7",
                "7",
                "--rhos",
                "9",
                "9",
                "--metrics",
                "grid",
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    assert {(nfe, rho) for nfe, rho, *_ in settings(folder, "grid_fd_classifier")} >= {
        (7, 9.0),
        (7, 7.0),
    }
    assert parse([str(folder)]).evaluation.rhos == (9.0,)


def test_truncation_errors_alone_take_the_trajectories_alone(folder, monkeypatch):
    made, add = [], SampleStore.add
    monkeypatch.setattr(
        SampleStore,
        "add",
        lambda self, start, **t: made.append(len(t["images"])) or add(self, start, **t),
    )
    assert main([str(folder), "--nfe", "7", "--metrics", "truncation", "--device", "cpu"]) == 0
    assert made == [16, 16]  # the dense reference and what is compared with it


def test_nothing_is_trained(folder, monkeypatch):
    monkeypatch.setattr("bench.training.step.Stepper.step", None, raising=False)
    weights = (folder.path / "checkpoint.pt").read_bytes()
    assert main([str(folder), "--rhos", "3", "9", "--grid-samples", "80", "--device", "cpu"]) == 0
    assert (folder.path / "checkpoint.pt").read_bytes() == weights
    assert settings(folder, "grid_fd_classifier").keys() >= {
        (5, rho, "heun", "train", 80) for rho in (3.0, 9.0)
    }


def test_euler_and_the_adaptive_solver_stand_beside_heun(folder):
    assert (
        main([str(folder), "--samplers", "euler", "dopri5:tolerance=0.01", "--device", "cpu"]) == 0
    )
    rows = [m for m in folder.measurements() if m.metric == "truncation_error"]
    assert {(m.nfe, m.rho) for m in rows if m.sampler == "euler"} == {(3, 7.0), (5, 7.0)}
    (adaptive,) = [m for m in rows if m.sampler == "dopri5:tolerance=0.01"]
    assert adaptive.rho is None
    assert adaptive.nfe > 6
    assert adaptive.value < min(m.value for m in rows if m.nfe == 5)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nowhere"], ["is not a run folder", "bench.run"]),
        ([], ["give at least one run folder"]),
        (["RUN", "--sigma-max", "40"], ["--sigma-max", "another run"]),
        (["RUN", "--samplers", "heum"], ["heun"]),
        (
            ["RUN", "--from-checkpoint", "nothing.safetensors"],
            ["nothing.safetensors", "models.import_edm"],
        ),
        (["RUN", "--from-checkpoint", "/"], ["--from-checkpoint /", "directory"]),
        (["RUN", "--from-checkpoint", "/dev/null"], ["--from-checkpoint", "empty"]),
        (["RUN", "--nfe", "4"], ["--nfe 4"]),
        (["RUN", "--shifts", "2.5"], ["--shifts", "--schedule karras flow"]),
    ],
)
def test_refusals_are_one_line(folder, capsys, args, words):
    assert main([str(folder) if word == "RUN" else word for word in args]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in words)


def test_an_unfinished_or_renamed_run_is_refused(folder, tiny):
    moved = RunFolder(folder.path.rename(folder.path.with_name("mine")))
    with pytest.raises(ConfigError, match="rename the folder to that"):
        trained(moved, tiny.evaluation)
    (moved.path / "metrics.jsonl").unlink()  # as of a run that is still in training
    with pytest.raises(ConfigError, match="not trained to its end"):
        trained(moved, tiny.evaluation)


def test_a_discriminator_that_does_not_fit_is_one_line(folder, monkeypatch, capsys):
    def refuse(*args, **kwargs):
        raise GuideError("of another denoiser")

    monkeypatch.setattr("bench.evaluate.run_arm", refuse)
    assert main([str(folder), "--device", "cpu"]) == 1
    assert capsys.readouterr().err == f"error: {folder.run_id}: of another denoiser\n"
