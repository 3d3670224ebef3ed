"""The speed benchmark through its command line, and that all its settings train alike."""

import csv
import json
from dataclasses import replace

import pytest
import torch

from bench import data, speed
from bench.benchmarks import speed as speed_benchmark
from bench.benchmarks import steps as runners
from bench.benchmarks.settings import (
    PLAIN,
    STAND_IN,
    Command,
    Setting,
    Tally,
    ratio,
    settings,
    shape_of,
)
from bench.benchmarks.speed import Contest
from bench.benchmarks.steps import Batches, Runner, start
from bench.config import load_preset, presets
from bench.speed import main, parse

TINY = ["--preset", "digits", "--model-channels", "8", "--channel-mult", "1", "--batch", "8"]
QUICK = [*TINY, "--rounds", "2", "--sample-rounds", "1", "--nfe", "5", "--device", "cpu"]


def batches_of(flags=TINY, **training):
    config = parse(list(flags)).config("cpu")
    config = replace(config, training=replace(config.training, **training))
    return Batches(config, *shape_of(config.data), "cpu")


def rows_of(out):
    with (out / "speed.csv").open(newline="") as file:
        return {row["setting"]: row for row in csv.DictReader(file)}


def test_one_command_leaves_table_and_provenance(tmp_path, capsys):
    assert main([*QUICK, "--out", str(tmp_path)]) == 0
    rows = rows_of(tmp_path)
    assert list(rows) == [PLAIN, "float32", "bfloat16"]
    for row in rows.values():
        assert (row["rounds"], row["sample_rounds"], row["nfe"], row["note"]) == ("2", "1", "5", "")
        assert (row["preset"], row["image_shape"], row["batch"], row["device"]) == (
            "digits",
            "1x8x8",
            "8",
            "cpu",
        )
        assert float(row["train_images_per_s"]) == pytest.approx(8000 / float(row["train_ms"]))
        assert float(row["evaluations_per_s"]) == pytest.approx(
            5 * float(row["sample_images_per_s"])
        )
        assert float(row["train_ratio"]) > 0
    assert rows[PLAIN]["train_ratio"] == rows[PLAIN]["sample_ratio"] == "1.0"
    told = json.loads((tmp_path / "speed.json").read_text())
    assert told["hardware"]["threads"] > 0
    assert told["config"]["network"]["model_channels"] == 8
    printed = capsys.readouterr().out
    assert "random images 1x8x8" in printed
    assert str(tmp_path / "speed.csv") in printed


@pytest.mark.parametrize(
    ("flags", "training"),
    [
        ([], {}),
        (["--dropout", "0.2"], {}),
        ([], {"conditional": True, "augment": 0.1}),
        ([], {"objective": "flow:path_sigma=0.5", "weight_decay": 0.3}),
    ],
)
def test_plain_loop_and_trainer_do_the_same_work(flags, training):
    batches = batches_of([*TINY, *flags], lr_ramp=100, **training)
    plain, ours = (start(setting, batches) for setting in settings("cpu", False)[:2])
    for number in range(2):
        pairs = batches.draw(number)
        assert plain.step(pairs).item() == pytest.approx(ours.step(pairs).item(), rel=1e-5)
    for side in ("net", "average"):
        for a, b in zip(
            getattr(plain, side).parameters(), getattr(ours, side).parameters(), strict=True
        ):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    first = start(Setting(PLAIN, plain=True), batches).net
    moved = [
        not torch.equal(a, b)
        for a, b in zip(first.parameters(), ours.net.parameters(), strict=True)
    ]
    assert sum(moved) > len(moved) / 2


def test_settings_of_a_device():
    assert [s.name for s in settings("cuda:0", False)] == [PLAIN, "float32", "bfloat16", "tf32"]
    compiled = settings("cpu", True)
    assert [s.name for s in compiled[1:]] == [
        "float32",
        "bfloat16",
        "float32 compiled",
        "bfloat16 compiled",
    ]
    assert [s.compiled for s in compiled] == [False, False, False, True, True]


def test_a_setting_computes_in_its_precision():
    batches = batches_of()
    assert start(Setting("bfloat16", "bfloat16"), batches).net.dtype == torch.bfloat16
    assert start(Setting("tf32", "tf32"), batches).tf32
    seen = []

    def step(pairs):
        seen.append(torch.backends.cuda.matmul.allow_tf32)

    for allowed in (True, False):
        net = torch.nn.Identity()
        Runner(step, net, net, net, torch.optim.SGD([torch.zeros(1)]), allowed).train(None)
    assert seen == [True, False]


def test_in_each_round_all_train_on_the_same_batch_and_the_first_changes(monkeypatch):
    seen = []

    def fake(setting, batches):
        net = torch.nn.Linear(1, 1)

        def step(pairs):
            seen.append((setting.name, float(pairs.noise[0, 0, 0, 0])))

        return Runner(step, net, net, net, torch.optim.SGD(net.parameters()))

    monkeypatch.setattr(speed_benchmark, "start", fake)
    tallies = [Tally(Setting("a", plain=True)), Tally(Setting("b"))]
    contest = Contest(Command(rounds=2, sample_rounds=0), batches_of(), tallies)
    assert len(list(contest.measure())) == contest.steps
    assert [name for name, _ in seen] == ["a", "a", "b", "b", "b", "a", "a", "b"]
    noises = [noise for _, noise in seen]
    assert noises[4::2] == noises[5::2]
    assert len(set(noises)) == 3
    assert [tally.train.keys() for tally in tallies] == [{1, 2}, {1, 2}]


def test_ratio_is_of_the_rounds_that_both_took():
    assert ratio({1: 4.0, 2: 9.0, 3: 2.0}, {1: 2.0, 2: 3.0}) == 2.5
    assert ratio({1: 1.0}, {}) is None


def test_a_setting_that_raises_is_a_row_with_a_note(tmp_path, monkeypatch):
    begin = runners.start

    def refuse(setting, batches):
        if setting.name == "bfloat16":
            raise RuntimeError("out of memory\nand a long story")
        return begin(setting, batches)

    monkeypatch.setattr(speed_benchmark, "start", refuse)
    assert main([*QUICK, "--out", str(tmp_path)]) == 0
    rows = rows_of(tmp_path)
    assert (rows["bfloat16"]["note"], rows["bfloat16"]["train_ms"]) == ("out of memory", "")
    assert rows["float32"]["rounds"] == "2"


def test_ctrl_c_keeps_what_was_measured(tmp_path, monkeypatch, capsys):
    def stop(self, pairs, nfe):
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "sample", stop)
    assert main([*QUICK, "--out", str(tmp_path)]) == 130
    assert rows_of(tmp_path)["bfloat16"]["rounds"] == "2"
    assert "what was measured is kept" in capsys.readouterr().err


def test_memory_counts_what_training_keeps_and_what_a_step_takes():
    batches = batches_of([*TINY, "--batch", "256"])
    runner = start(Setting(PLAIN, plain=True), batches)
    runner.train(batches.draw(0))
    weights = sum(p.numel() for p in runner.net.parameters())
    # Four float32 a weight, and one count of steps for each of Adam's tensors.
    assert runner.kept_mb() == pytest.approx(16 * weights / 1e6, rel=0.05)
    # glibc maps blocks above 32 MiB afresh; a smaller one may reuse pages that count as held
    # already.
    activations = speed_benchmark.peak_mb("cpu", lambda: torch.ones(16_000_000))
    assert activations is None or activations == pytest.approx(64, rel=0.1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch", "0"], "--batch 0: 1 or more"),
        (["--rounds", "0"], "--rounds 0: 1 or more"),
        (["--nfe", "4"], "--nfe 4 evaluations"),
        (["--channel-mult", "1", "1", "1", "1", "1"], "cannot be halved 4 times"),
        (["--preset", "diigts"], "did you mean digits"),
    ],
)
def test_bad_input_is_one_line(flags, message, tmp_path, capsys):
    assert main([*QUICK, "--out", str(tmp_path), *flags]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_own_images_are_stood_for_and_others_have_the_shape_that_their_file_states():
    assert shape_of("image-folder") == shape_of("image-zip") == STAND_IN
    assert shape_of("digits") == ((1, 8, 8), 10)
    assert {load_preset(name).data for name in presets()} <= set(data.names())


def test_the_network_is_that_of_the_preset():
    assert parse([]).config("cpu").network == load_preset(speed.PRESET).network
    assert parse([]).config("cpu").training.batch == 32
    assert parse([]).config("cuda").training.batch == load_preset(speed.PRESET).training.batch
    assert parse(["--preset", "moons", "--num-blocks", "1"]).network.num_blocks == 1
