"""The main job, through its command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.arm import folder_of, run_arm
from bench.check import make
from bench.cli import note_preset
from bench.config import Execution, TrainingConfig
from bench.evaluation import loop
from bench.record import RunFolder
from bench.run import Command, main, parse
from models import edm as networks
from models.import_edm import ReleasedNetwork, write_network

ROOT = Path(__file__).parents[2]


def test_help_teaches_every_option_with_its_default(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for option in (
        "--coupling",
        "--data",
        "--pool",
        "--nfe",
        "--rho",
        "--seeds",
        "--runs",
        "--device",
        "--no-baseline",
        "--objective",
        "--search-noise",
    ):
        assert option in text
    assert "python -m bench.run --coupling lapjv" in text
    assert text.count("(default:") > 25


def test_data_and_preset_choose_the_defaults_and_flags_have_the_last_word():
    assert parse(["--data", "moons"]).training.images == make("moons").training.images
    assert parse(["--preset", "moons"]).data == "moons"
    assert parse(["--data", "moons", "--images", "512"]).training.images == 512


def test_arms_are_the_baseline_and_each_coupling_once_for_every_seed():
    arms = Command(coupling=("lapjv", "random", "sinkhorn:epsilon=0.05"), seeds=2).configurations()
    assert [(a.coupling, a.seed) for a in arms] == [
        (coupling, seed) for seed in (0, 1) for coupling in ("random", "lapjv", "sinkhorn")
    ]
    assert [a.coupling for a in Command(no_baseline=True).configurations()] == ["lapjv"]
    differing = {json.dumps({**a.identity, "coupling": "", "seed": 0}) for a in arms}
    assert len(differing) == 1


def test_every_coupling_and_the_baseline_are_trained_under_every_objective():
    flags = ["--coupling", "lapjv", "--objective", "edm", "flow", "flow:t=uniform", "--seeds", "2"]
    runs = parse(flags).configurations()
    assert [(run.seed, run.training.objective, run.coupling) for run in runs] == [
        (seed, objective, coupling)
        for seed in (0, 1)
        for objective in ("edm", "flow")
        for coupling in ("random", "lapjv")
    ]
    # Those of the default are the runs of a command that names none.
    assert [run for run in runs if run.training.objective == "edm"] == parse(
        ["--coupling", "lapjv", "--seeds", "2"]
    ).configurations()
    # Python callers may leave the choice to the training.
    training = TrainingConfig(objective="flow")
    assert {run.training.objective for run in Command(training=training).configurations()} == {
        "flow"
    }


def test_an_option_of_one_objective_is_left_out_of_the_others(capsys):
    flags = ["--objective", "edm", "flow", "--P-mean", "0", "--P-std", "2", "--no-baseline"]
    edm, flow = parse(flags).configurations()
    assert (edm.training.P_mean, edm.training.P_std) == (0.0, 2.0)
    assert flow == make(None, {"objective": "flow", "coupling": "lapjv"})
    # With none to read it, it must be a mistake.
    assert main(["--objective", "flow", "--P-mean", "0"]) == 2
    assert "--P-mean" in capsys.readouterr().err


def test_a_preset_for_another_objective_is_taken_and_a_line_says_so(tmp_path, monkeypatch, capsys):
    text = 'data = "digits"\n[training]\nsigma_data = 0.3\nP_mean = -0.5\nlr = 5e-4\n'
    (tmp_path / "mine.toml").write_text(text)
    monkeypatch.setattr("bench.config.read.PRESETS", tmp_path)
    (run,) = parse(["--preset", "mine", "--objective", "flow", "--no-baseline"]).configurations()
    assert (run.training.lr, run.training.sigma_data, run.training.P_mean) == (5e-4, 0.5, -1.2)
    assert make("mine", {"objective": "flow", "coupling": "lapjv"}) == run
    note_preset("mine", ("edm", "flow"))
    assert "mine is a recipe for edm; " in capsys.readouterr().out
    note_preset("mine", ("edm",))
    note_preset(None, ("flow",))
    assert capsys.readouterr().out == ""
    (tmp_path / "mine.toml").write_text('data = "digits"\n[training]\nobjective = "flow"\n')
    (run,) = parse(["--preset", "mine", "--no-baseline"]).configurations()
    assert run.training.objective == "flow"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--objective", "edm", "flwo"], ["--objective", "flow"]),
        (["--search-noise", "--noise-laws", "-1,0"], ["--noise-laws -1,0"]),
        (["--noise-laws=0,2", "-1,1"], ["--search-noise"]),
        (["--search-noise", "--nfe", "3"], ["--nfe above 3"]),
        (["--coupling", "lapjvv"], ["lapjvv", "lapjv"]),
        (["--coupling", "help"], ["python -m couplings"]),
        (["lapjv"], ["--coupling lapjv"]),
        (["--coupling", "lapjv:cosst=l2"], ["cosst", "cost"]),
        (["--coupling", "sinkhorn:epsilon=0"], ["epsilon"]),
        (["--coupling", "reflow:run=nowhere"], ["reflow:run=nowhere", "no run nowhere in runs"]),
        (["--pool", "0"], ["--pool", "above 0"]),
        (["--data", "digit"], ["digits"]),
        (["--preset", "nope"], ["digits"]),
        (["--preset", "cifar10-small", "--data", "digits"], ["cifar10-small is for cifar10, not"]),
        (["--nfe", "1"], ["--nfe"]),
        (["--rho", "0"], ["--rho"]),
        (["--seeds", "0"], ["--seeds"]),
        (["--seed", str(2**63)], ["--seed", "2^63 - 1"]),
        (["--seed", str(2**63 - 1), "--seeds", "2"], ["--seeds 2", "2^63 - 1"]),
        (["--images", str(2**63)], ["--images", "2^63 - 1"]),
        (["--rhos", "nan"], ["nan"]),
        (["--rhos", "5,6", "--objective", "flow"], ["--rhos", "--schedule flow karras"]),
        (["--shifts", "2.5"], ["--shifts", "schedule flow;", "--schedule karras flow"]),
        (["lapjv", "--seeds", "2"], ["did you mean --coupling lapjv?"]),
        (
            ["--guidance", "discriminator", "--guidance.fakes", "3"],
            ["3 images", "--guidance.fakes"],
        ),
        (
            ["--guidance", "discriminator", "--guidance.encoder", __file__],
            ["--guidance.encoder", "TorchScript"],
        ),
        (["--from-checkpoint", "/"], ["--from-checkpoint", "directory"]),
        (["--from-checkpoint", "/dev/null"], ["--from-checkpoint", "empty"]),
        (["--precision", "tf32", "--device", "cpu"], ["--precision", "bfloat16"]),
        (["--workers", "-1"], ["--workers"]),
        (["--micro-batch", "0"], ["--micro-batch"]),
        (
            ["--from-checkpoint", "nothing.safetensors"],
            ["nothing.safetensors", "models.import_edm"],
        ),
        (["--runs", "/dev/null/runs"], ["--runs"]),
        (["--data", "cifar10", "--data-dir", "/dev/null"], ["cifar"]),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(
    tmp_path, monkeypatch, capsys, flags, words
):
    def offline(*_, **__):
        raise OSError("no network in tests")

    monkeypatch.setattr("pooch.retrieve", offline)
    monkeypatch.chdir(tmp_path)
    assert main(flags) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ")
    assert "\n" not in message
    for word in words:
        assert word in message
    assert list(tmp_path.rglob("*")) == []


def test_cuda_without_a_device_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--device", "cuda", "--runs", str(tmp_path)]) == 2
    assert "--device" in capsys.readouterr().err


def test_from_nothing_to_report_and_at_once_the_second_time(
    tmp_path, tiny_flags, capsys, monkeypatch
):
    flags = ["--coupling", "lapjv", "--runs", str(tmp_path / "runs"), *tiny_flags]
    assert main(flags) == 0
    printed = capsys.readouterr().out
    assert "random" in printed
    assert "lapjv" in printed
    assert (tmp_path / "runs" / "results.csv").exists()
    assert "lapjv" in (tmp_path / "runs" / "report.html").read_text()
    folders = [RunFolder(p.parent) for p in (tmp_path / "runs").glob("*/config.json")]
    assert sorted(f.config()["coupling"] for f in folders) == ["lapjv", "random"]
    for folder in folders:
        assert folder.status()["state"] == "done"
        assert {m.metric for m in folder.measurements()} >= {
            "fd_pixels",
            "fd_classifier",
            "truncation_error",
            "curvature_fm",
            "transport_cost",
            "coupling_ms",
            "coupling_share",
            "images_per_s",
        }
        provenance = folder.provenance()
        assert len(provenance["data_checksum"]) == 64
        assert provenance["seed"] == 0
        assert provenance["versions"]["torch"]
    before = {f.run_id: (f.path / "metrics.jsonl").read_bytes() for f in folders}

    def never(*_):
        raise AssertionError("a finished run must not train again")

    monkeypatch.setattr("bench.training.loop.train", never)
    assert main(flags) == 0
    assert {f.run_id: (f.path / "metrics.jsonl").read_bytes() for f in folders} == before


def test_a_folder_with_another_configuration_is_refused(tmp_path, tiny, capsys):
    folder = RunFolder(tmp_path / tiny.run_id)
    folder.path.mkdir()
    (folder.path / "config.json").write_text('{"data": "other"}')

    with pytest.raises(ValueError, match="another configuration"):
        folder_of(tiny, tmp_path)


def test_an_arm_that_fails_does_not_take_the_others_along(tmp_path, tiny_flags, capsys):
    unsolvable = "sinkhorn:epsilon=0.001,max_iterations=1"
    assert main(["--coupling", unsolvable, "lapjv", "--runs", str(tmp_path), *tiny_flags]) == 1
    printed = capsys.readouterr()
    assert "max_iterations" in printed.err
    assert "lapjv" in (tmp_path / "report.html").read_text()
    states = {
        f.name.split("-")[1]: RunFolder(f).status()["state"] for f in tmp_path.glob("digits-*")
    }
    assert states == {
        "random": "done",
        "lapjv": "done",
        "sinkhorn_epsilon=0.001_max_iterations=1": "failed",
    }


def test_an_unexpected_error_is_one_line_and_other_runs_are_reported(
    tmp_path, tiny_flags, capsys, monkeypatch
):
    """Also what nobody thought of: here a LinAlgError in the middle of the measuring."""
    measure = loop.measure

    def diverged(subject, *args):
        if subject.config.coupling == "greedy":
            raise torch.linalg.LinAlgError("ill-conditioned\nmatrix")
        return measure(subject, *args)

    monkeypatch.setattr(loop, "measure", diverged)
    flags = [
        "--coupling",
        "greedy",
        "lapjv",
        "--runs",
        str(tmp_path),
        *tiny_flags,
        "--metrics",
        "truncation",
    ]
    assert main(flags) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    (failed,) = tmp_path.glob("digits-greedy-*")
    assert (
        line == f"error: {failed.name}: LinAlgError: ill-conditioned matrix (traceback:"
        f" {failed / 'traceback.txt'})"
    )
    assert "in diverged" in (failed / "traceback.txt").read_text()
    assert RunFolder(failed).status()["state"] == "failed"
    table = (tmp_path / "results.csv").read_text()
    assert "lapjv" in table
    assert "greedy" not in table
    monkeypatch.setattr(loop, "measure", measure)
    assert main(flags) == 0
    assert not (failed / "traceback.txt").exists()
    assert "greedy" in (tmp_path / "results.csv").read_text()
    check_report_failures(tmp_path, flags, capsys, monkeypatch)


def check_report_failures(runs, flags, capsys, monkeypatch):
    """With all runs done: a page that cannot be made, and a folder that cannot be written."""

    def fails(*_):
        raise RuntimeError("no such backend")

    (runs / "results.csv").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("reports.page.render", fails)
        assert main(flags) == 1
    printed = capsys.readouterr()
    assert "lapjv" in printed.out
    assert [line for line in printed.err.splitlines() if line.startswith("error")] == [
        f"error: report.html cannot be made (RuntimeError: no such backend); {runs / 'results.csv'}"
        " is written"
    ]
    assert (runs / "results.csv").exists()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("reports.build.write_bytes", full)
        assert main(flags) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "No space left on device" in line
    assert "--out" not in line


def test_a_failed_run_says_why(tmp_path, tiny, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr("bench.training.loop.train", broken)
    with pytest.raises(RuntimeError):
        run_arm(tiny, tmp_path, Execution(device="cpu"), progress=False)
    status = RunFolder(tmp_path / tiny.run_id).status()
    assert (status["state"], status["reason"]) == ("failed", "the disk is full")


# What a real process does: the same run as `tiny`, with checkpoints often, killed on the way.
def test_a_folder_in_use_by_another_process_is_refused(tmp_path, tiny, tiny_flags, capsys):
    folder = tmp_path / tiny.run_id
    code = (
        "import sys, time; from pathlib import Path; from bench.record import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).lock():\n    print('locked', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline().strip() == "locked"
        flags = ["--coupling", "lapjv", "--no-baseline", "--runs", str(tmp_path), *tiny_flags]
        assert main(flags) == 2
        assert "in use" in capsys.readouterr().err
        assert not (folder / "config.json").exists()
    finally:
        holder.kill()
        holder.communicate()


def network_file(path, **keywords):
    """A network of digits' size as ``models.import_edm`` stores one."""
    keywords = {
        "img_resolution": 8,
        "img_channels": 1,
        "label_dim": 0,
        "augment_dim": 9,
        "model_channels": 8,
        "channel_mult": (1,),
        "num_blocks": 1,
        "attn_resolutions": (),
        "dropout": 0.0,
    } | keywords
    torch.manual_seed(0)
    denoiser = networks.ddpmpp(**keywords).eval()
    write_network(
        ReleasedNetwork("ddpmpp", keywords, denoiser, "test", ("float32",), "0" * 64), path
    )
    return denoiser


HEARD = """
from bench.training.trackers.contract import Tracker

class Heard(Tracker):
    def __init__(self, folder, run_id, options, images):
        self.file = folder.parent / "heard.txt"

    def values(self, values, images):
        with self.file.open("a") as file:
            file.write(" ".join(values))

    def picture(self, name, path, images):
        pass

    def close(self, failed):
        pass
"""


def test_a_released_network_is_measured_like_any_arm(tmp_path, tiny_flags, monkeypatch):
    network_file(tmp_path / "edm-digits.safetensors")
    (tmp_path / "listening").mkdir()
    (tmp_path / "listening/heard.py").write_text(HEARD)
    monkeypatch.syspath_prepend(tmp_path)
    flags = [
        "--from-checkpoint",
        str(tmp_path / "edm-digits.safetensors"),
        "--runs",
        str(tmp_path / "runs"),
        "--log",
        "listening.heard",
    ]
    assert main([*flags, *tiny_flags]) == 0
    # There is no training to open the log.
    assert "fd_classifier/test/nfe5" in (tmp_path / "runs/heard.txt").read_text().split()
    (folder,) = [RunFolder(p.parent) for p in (tmp_path / "runs").glob("*/config.json")]
    assert folder.config()["coupling"] == "edm-digits"
    assert not (folder.path / "checkpoint.pt").exists()
    metrics = {m.metric for m in folder.measurements()}
    assert metrics >= {"fd_pixels", "fd_classifier", "truncation_error", "curvature_fm"}
    assert not metrics & {"train_seconds", "transport_cost"}
    page = (tmp_path / "runs" / "report.html").read_text()
    assert "edm-digits" in page
    assert "ratio to random" not in page.split('id="g1"')[1]
    assert "differ only in coupling (networks from files: in the file)" in page
    # The file's network is unconditional, so no class was asked for.
    assert "class_law" not in folder.provenance()
    assert "Conditional denoisers" not in page


@pytest.mark.parametrize("option", [("--objective", "flow"), ("--coupling", "sinkhorn")])
def test_options_of_a_training_are_refused_for_a_released_network(tmp_path, capsys, option):
    file = tmp_path / "edm.safetensors"
    network_file(file)
    assert main(["--from-checkpoint", str(file), *option]) == 2
    assert "--from-checkpoint" in capsys.readouterr().err


def test_values_of_a_schedule_are_taken_if_any_run_uses_it():
    both = ["--rhos", "5,6", "--shifts", "2.5", "--objective", "edm", "flow"]
    assert parse(both).configurations()
    assert parse(["--rhos", "5", "--schedule", "flow", "karras"]).configurations()
    # Without values the search is skipped, under any objective.
    assert parse(["--rhos", "--shifts", "--objective", "flow"]).configurations()
    assert parse(["--quick", "--objective", "flow", "--coupling", "lapjv"]).configurations()


@pytest.mark.parametrize(
    ("keywords", "words"),
    [({"img_resolution": 16}, "images [1, 16, 16]"), ({"label_dim": 3}, "3 classes")],
)
def test_a_network_for_other_images_is_refused(tmp_path, tiny_flags, capsys, keywords, words):
    network_file(tmp_path / "other.safetensors", **keywords)
    flags = [
        "--from-checkpoint",
        str(tmp_path / "other.safetensors"),
        "--runs",
        str(tmp_path / "runs"),
    ]
    assert main([*flags, *tiny_flags]) == 2
    assert words in capsys.readouterr().err
