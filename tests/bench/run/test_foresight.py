"""The plan of a command, and the pace that it is made from."""

from dataclasses import replace

import pytest
import torch

from bench import data
from bench.check import make
from bench.config import Execution
from bench.process.ranks import Ranks
from bench.run import main
from bench.run.foresight import OTHER, Foresight, foresee, outline
from bench.run.pace import Pace, evaluations, measure
from bench.run.quick import quick
from bench.training.state import new_state

PACE = Pace(train=1e-3, sample=1e-4, memory=2e9, parameters=300_000, couple={"lapjv": 5e-4})


@pytest.fixture
def runs(tiny):
    return tuple(replace(tiny, coupling=coupling) for coupling in ("random", "lapjv"))


def test_seconds_are_those_of_training_coupling_and_sampling(runs):
    foresight = Foresight(runs, 1, PACE)
    # 100 samples at 3 and 5 evaluations, the grid of one schedule, and 16 paths of 8 steps
    evaluated = (100 + 96) * 8 + 16 * 15
    assert evaluations(runs[0]) == evaluated
    assert foresight.seconds(runs[0]) == pytest.approx(OTHER * (640e-3 + evaluated * 1e-4))
    more = foresight.seconds(runs[1]) - foresight.seconds(runs[0])
    assert more == pytest.approx(OTHER * 640 * 5e-4)
    assert foresight.total(runs) == pytest.approx(sum(map(foresight.seconds, runs)))
    # At once, the longer of both; as two processes each, half of that.
    assert replace(foresight, at_once=2).total(runs) == foresight.seconds(runs[1])
    assert replace(foresight, processes=2).total(runs) == foresight.total(runs) / 2


def test_a_search_measures_the_grid_and_then_everything_again(tiny):
    none = replace(tiny.evaluation, rhos=())
    without = evaluations(replace(tiny, evaluation=none))
    searched = replace(none, rhos=(5.0, 7.0), grid_samples=10)
    assert evaluations(replace(tiny, evaluation=searched)) == without + (2 * 10 + 100) * 8
    adaptive = replace(none, samplers=("heun", "dopri5"))
    assert evaluations(replace(tiny, evaluation=adaptive)) == without + 100 * 80


def test_the_plan_names_runs_budget_time_and_memory(runs):
    text = "\n".join(outline(Foresight(runs, 2, PACE), done=1, available=8e9))
    assert "plan: 2 runs of digits (random, lapjv; 1 seed); 1 done already" in text
    assert "0.3 M parameters" in text
    assert "640 images each, batches of 64, pools of 128" in text
    assert "2 at once, 1,000 training images per second each" in text
    assert "about 2.0 GB each" in text
    assert "shorter" not in text
    few = "\n".join(outline(Foresight(runs, 2, PACE, images=50), done=0, available=8e9))
    assert "pools of 128 (more than the 50 training images: each comes 2.6 times)" in few


def test_a_long_or_large_comparison_is_said_to_be_so_with_the_way_out(runs):
    training = replace(runs[0].training, images=50_000_000)
    long = tuple(replace(run, training=training) for run in runs)
    lines = outline(Foresight(long, 1, PACE), done=0, available=1e9)
    (shorter,) = [line for line in lines if "shorter" in line]
    assert "--quick takes about" in shorter
    # Half an hour of both runs, in one digit: at least half of it
    images = int(shorter.split("--images ")[1].split()[0])
    assert 900 <= OTHER * images * (1e-3 + 1.5e-3) < 1800
    (memory,) = [line for line in lines if "memory" in line]
    assert "more than the 1.0 GB available: --micro-batch 8" in memory


def test_a_long_smoke_run_names_a_smaller_network(runs):
    smoke = tuple(quick(run) for run in runs)
    slow = replace(PACE, train=1.0)
    lines = outline(Foresight(smoke, 1, slow), done=0, available=8e9)
    (shorter,) = [line for line in lines if "shorter" in line]
    assert shorter.endswith("a smaller network (--model-channels)")


def test_a_pace_is_that_of_the_network_and_changes_no_random_stream():
    config = make(None, {"coupling": "lapjv", "pool": 64, "batch": 32})
    dataset = data.load("digits", None)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    pace = measure([config], dataset, "cpu", Execution())
    assert torch.equal(torch.get_rng_state(), before)
    weights = new_state(config, dataset, "cpu").net.parameters()
    assert pace.parameters == sum(weight.numel() for weight in weights)
    # With its gradient a step takes about three times an evaluation; both are real times.
    assert 0 < pace.sample < pace.train
    assert pace.couple["lapjv"] > 0
    larger = measure([replace(config, training=replace(config.training, batch=3200))], dataset,
                     "cpu", Execution(micro_batch=3200))  # fmt: skip
    assert larger.memory > pace.memory


def test_networks_in_files_have_no_pace(tiny):
    config = replace(tiny, checkpoint="0" * 64)
    foresight = foresee([config], 1, 1, data.load("digits", None), Ranks(0, 1, "cpu"), Execution())
    assert foresight.seconds(config) == 0
    assert "network   from a file" in "\n".join(outline(foresight, 0, 1e9))


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path, tiny_flags, monkeypatch, capsys):
    def never(*_):
        raise AssertionError("a dry run must not make runs")

    monkeypatch.setattr("bench.run.make", never)
    monkeypatch.chdir(tmp_path)
    assert main(["--dry-run", "--seeds", "2", *tiny_flags]) == 0
    assert "plan: 4 runs of digits (random, lapjv; 2 seeds)" in capsys.readouterr().out
    assert list(tmp_path.rglob("*")) == []
