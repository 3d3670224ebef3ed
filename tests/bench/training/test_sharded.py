"""Fully sharded training: the numbers and the checkpoints of DDP, and of a single process."""

import subprocess
from dataclasses import replace

import pytest
import torch

from bench import data
from bench.check import make
from bench.config import ConfigError, Execution, RunConfig, TrainingConfig
from bench.process.ranks import Ranks
from bench.record import RunFolder
from bench.training.checkpoints import load_checkpoint
from bench.training.loop import train
from bench.training.sharded import refuse_strategy
from tests.bench.process.test_ranks import torchrun

PROGRAM = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from bench import data
from bench.process.ranks import join, leave
from bench.training.sharded import shard
from bench.training.state import new_state
from tests.bench.training.test_sharded import RUNS, configuration, trained
ranks = join("cpu")
folder = Path(sys.argv[1])
for name in RUNS:
    state = trained(name, folder / name, ranks)
    torch.save(state.ema.net.state_dict(), folder / f"{name}-{ranks.rank}.pt")
state = new_state(configuration("images"), data.load("digits"), "cpu")
total = sum(weight.numel() for weight in state.net.parameters())
shard(state, ranks)
for net in (state.net, state.ema.net):
    share = sum(weight.to_local().numel() for weight in net.parameters())
    assert share < 0.6 * total, (share, total)
leave()
"""
ALONE = Ranks(0, 1, "cpu")
STEPS = 4
# Execution and task of each run on two processes; the last two stop, or resume, half-way.
RUNS = {
    "ddp": ("ddp", "images"),
    "fsdp": ("fsdp", "images"),
    "fsdp-points": ("fsdp", "points"),
    "fsdp-half": ("fsdp", "half"),
    "fsdp-resumed": ("fsdp", "images"),
}


def configuration(task):
    """A run of four steps; "half" is the first half of "images"."""
    shared = {"batch": 32, "pool": 64, "pool_scope": "global", "coupling": "lapjv"}
    images = 32 * STEPS
    if task == "points":
        # It selects weights by a validation split, in the middle of the training.
        return make(None, {**shared, "data": "sf2m-moons", "images": images, "arch": "mlp",
                           "select_every": 32})  # fmt: skip
    if task == "half":
        images //= 2
    return make(None, {**shared, "images": images, "model_channels": 16, "channel_mult": [1]})


def trained(name, folder, ranks):
    strategy, task = RUNS[name]
    if ranks.count == 1:
        strategy = "ddp"
    config = configuration(task)
    execution = Execution(
        strategy=strategy, micro_batch=12, gradient_checkpointing=strategy == "fsdp"
    )
    dataset = data.load(config.data)
    return train(config, dataset, RunFolder(folder), ranks, execution, False, check_every=1)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    program = folder / "program.py"
    program.write_text(PROGRAM)
    # The first half by one process, which two resume from.
    trained("fsdp-half", folder / "fsdp-resumed", ALONE)
    done = torchrun([program], folder, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder


def assert_same_training(found, expected):
    """Compare all that two checkpoints hold, to the rounding of sums in another order."""
    assert found["step"] == expected["step"]
    losses = [entry["loss"] for entry in found["history"]]
    assert losses == pytest.approx([entry["loss"] for entry in expected["history"]], rel=1e-4)
    for part in ("net", "ema"):
        assert list(found[part]) == list(expected[part])
        for key, value in expected[part].items():
            assert (found[part][key] - value).norm() <= 1e-3 * value.norm() + 1e-6, key
    ours, theirs = (content["optimizer"] for content in (found, expected))
    assert ours["param_groups"] == theirs["param_groups"]
    for number, known in theirs["state"].items():
        assert ours["state"][number]["step"] == known["step"]
        for key in ("exp_avg", "exp_avg_sq"):
            value = known[key]
            difference = ours["state"][number][key] - value
            assert difference.norm() <= 1e-2 * value.norm() + 1e-6, (number, key)


@pytest.mark.parametrize("name", ["ddp", "fsdp", "fsdp-points", "fsdp-resumed"])
def test_two_processes_train_what_one_does(two_processes, tmp_path, name):
    trained(name, tmp_path, ALONE)
    found, expected = (
        load_checkpoint(RunFolder(place), "cpu") for place in (two_processes / name, tmp_path)
    )
    assert_same_training(found, expected)
    if name == "fsdp-points":
        assert found["selected"]["images"] == expected["selected"]["images"]


@pytest.mark.parametrize("name", RUNS)
def test_all_processes_get_the_whole_average_of_the_checkpoint(two_processes, name):
    content = load_checkpoint(RunFolder(two_processes / name), "cpu")
    for rank in (0, 1):
        # Plain tensors: `weights_only` refuses others.
        given = torch.load(two_processes / f"{name}-{rank}.pt", weights_only=True)
        for key, value in content["ema"].items():
            assert torch.equal(given[key], value)


def test_one_process_resumes_what_shards_began(two_processes, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    subprocess.run(["cp", "-r", two_processes / "fsdp-half", resumed], check=True)
    for folder in (whole, resumed):
        trained("fsdp", folder, ALONE)
    found, expected = (load_checkpoint(RunFolder(place), "cpu") for place in (resumed, whole))
    assert_same_training(found, expected)


def test_a_sharded_training_needs_processes_and_no_compiler():
    sharded = Execution(strategy="fsdp")
    refuse_strategy(Execution(compile=True), 1, RunConfig())
    refuse_strategy(sharded, 2, RunConfig())
    with pytest.raises(ConfigError, match="start with torchrun"):
        refuse_strategy(sharded, 1, RunConfig())
    with pytest.raises(ConfigError, match="leave one of them out"):
        refuse_strategy(replace(sharded, compile=True), 2, RunConfig())


@pytest.mark.parametrize(
    ("strategy", "scope", "words"),
    [("fsdp", "global", "take --strategy ddp"), ("ddp", "rank", "pass --pool-scope global")],
)
def test_a_coupling_that_follows_the_network_refuses_processes_without_it(strategy, scope, words):
    """Before any training: a tenth of the steps pair at random."""
    training = TrainingConfig(pool_scope=scope)
    config = RunConfig(coupling="model-aligned", training=training)
    with pytest.raises(ConfigError, match=words):
        refuse_strategy(Execution(strategy=strategy), 2, config)
    refuse_strategy(Execution(), 1, config)
