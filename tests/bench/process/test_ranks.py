"""One run on two processes: the same network as on one."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from bench import data
from bench.check import make
from bench.evaluation.loop import evaluate
from bench.pairs.stream import PairStream
from bench.process.ranks import Ranks, join
from bench.record import RunFolder, UserError
from bench.sampling import sample as sampling
from bench.training.loop import train
from bench.training.state import build_network
from couplings import get

PROGRAM = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from bench import data
from bench.config import Execution
from bench.process.ranks import join, leave
from bench.record import RunFolder
from bench.training.loop import train
from tests.bench.process.test_ranks import configs, sample
ranks = join("cpu")
for name, config in configs(sys.argv[2:]).items():
    folder = RunFolder(Path(sys.argv[1]) / name)
    state = train(config, data.load("digits"), folder, ranks, Execution(), progress=False)
    torch.save(state.net.state_dict(), Path(sys.argv[1]) / f"{name}-{ranks.rank}.pt")
sample(ranks, Path(sys.argv[1]) / "samples")
leave()
"""

COMMAND = """
import os, sys
import bench.evaluation.loop
import bench.sampling.sample
import bench.features.classifier
from bench.run import main
bench.features.classifier.TRAINING_IMAGES = 12_800
bench.sampling.sample.CHUNK = 40
if os.environ.get("FAILING") == os.environ["RANK"]:
    def fail(*_):
        raise RuntimeError("no space left")
    bench.evaluation.loop.sample_chunk = fail
sys.exit(main(sys.argv[1:]))
"""


def sample(ranks, path):
    """Measure the same network and keep its samples: seven chunks, however many ranks there are."""
    config = make(
        None,
        {
            "model_channels": 8,
            "channel_mult": [1],
            "samples": 64,
            "trajectories": 32,
            "nfe": [3, 5],
            "reference_steps": 6,
        },
    )
    digits = data.load("digits")
    net = build_network(config.network, digits, False, 0).eval()
    with pytest.MonkeyPatch.context() as patch:  # one of the worlds is this very process
        patch.setattr(sampling, "CHUNK", 16)
        return evaluate(
            config, net, digits, [], ranks, RunFolder(path), progress=False, keep_samples=True
        )


def configs(folder):
    """What both worlds train."""
    tiny = make(
        None,
        {
            "images": 640,
            "pool": 128,
            "batch": 64,
            "model_channels": 8,
            "channel_mult": [1],
            "pool_scope": "global",
        },
    )
    return {
        "lapjv": replace(tiny, coupling="lapjv"),
        "sinkhorn": replace(tiny, coupling="sinkhorn:epsilon=0.5"),
        "cached": replace(tiny, coupling="cached:epochs=1"),
        "augmented": replace(tiny, coupling="lapjv", training=replace(tiny.training, augment=0.3)),
    }


def torchrun(program, *args, processes=2, timeout=240, **variables):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={processes}",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()} | variables
    return subprocess.run(
        [*command, *program, *map(str, args)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    program = folder / "program.py"
    program.write_text(PROGRAM)
    done = torchrun([program], folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", configs(()))
def test_two_processes_train_what_one_does(two_processes, tmp_path, name):
    state = train(
        configs(())[name],
        data.load("digits"),
        RunFolder(tmp_path),
        Ranks(0, 1, "cpu"),
        progress=False,
    )
    alone = state.net.state_dict()
    first, second = (
        torch.load(two_processes / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    for key, value in alone.items():
        assert torch.equal(first[key], second[key])
        assert (first[key] - value).norm() <= 1e-3 * value.norm() + 1e-6, key


def test_what_is_sampled_does_not_depend_on_the_number_of_processes(two_processes, tmp_path):
    alone = {m.key: m.value for m in sample(Ranks(0, 1, "cpu"), tmp_path)}
    folder = two_processes / "samples"
    assert {
        m.key: m.value for m in RunFolder(folder).measurements() if m.metric != "evaluate_seconds"
    } == alone
    chunks = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.safetensors"))
    assert len(chunks) == 6  # two of the dense reference and of each number of evaluations
    for chunk in chunks:
        assert (folder / chunk).read_bytes() == (tmp_path / chunk).read_bytes()


def test_only_the_first_process_keeps_the_folder(two_processes):
    assert sorted(p.name for p in (two_processes / "lapjv").iterdir()) == ["checkpoint.pt"]


def test_the_command_on_two_processes_goes_on_after_one_of_them_failed(tmp_path, tiny_flags):
    program = tmp_path / "command.py"
    program.write_text(COMMAND)
    words = [
        *tiny_flags,
        "--runs",
        tmp_path / "runs",
        "--no-baseline",
        "--conditional",
        "--coupling",
        "lapjv:within_class=true",
        "--augment",
        "0.2",
        "--micro-batch",
        "24",
        "--precision",
        "bfloat16",
    ]
    failed = torchrun([program], *words, FAILING="1")  # the first one then waits for it
    assert failed.returncode == 1
    assert "no space left" in failed.stderr
    done = torchrun([program], *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("results:") == 1  # one process speaks
    (folder,) = (
        RunFolder(path) for path in (tmp_path / "runs").iterdir() if (path / "config.json").exists()
    )
    assert folder.is_done()
    assert folder.provenance()["processes"] == 2


@pytest.mark.parametrize("pool", [64, 40, 13])
def test_the_shares_of_a_global_pool_are_the_batches_of_one_process(pool):
    split = data.load("digits").train
    options = {"pool": pool, "batch": 32, "seed": 0, "stop_step": 4}
    with PairStream(split, get("random"), **options) as stream:
        whole = list(stream)
    fitted = get("cached:epochs=0").fit(
        split.images, split.labels, torch.Generator().manual_seed(0)
    )
    with PairStream(split, fitted, **options) as stream:
        cached = list(stream)
    for rank in (0, 1):
        fitted = get("cached:epochs=0").fit(
            split.images, split.labels, torch.Generator().manual_seed(0)
        )
        with PairStream(split, fitted, rank=rank, ranks=2, **options) as stream:
            for share, alone, images in zip(stream, cached, whole, strict=True):
                rows = slice(16 * rank, 16 * rank + 16)
                assert torch.equal(share.noise, alone.noise[rows])
                assert torch.equal(share.images, images.images[rows])


def test_ranks_of_their_own_draw_different_pools():
    split = data.load("digits").train
    found = []
    for rank in (0, 1):
        with PairStream(
            split, get("lapjv"), pool=64, batch=32, seed=0, rank=rank, ranks=2, stop_step=4
        ) as stream:
            found.append(list(stream))
    assert all(len(pairs.images) == 16 for stream in found for pairs in stream)
    assert not torch.equal(found[0][0].noise, found[1][0].noise)


def test_a_batch_must_be_shared_evenly():
    with pytest.raises(ValueError, match="3 ranks"):
        PairStream(data.load("digits").train, get("lapjv"), pool=64, batch=32, seed=0, ranks=3)


def test_alone_there_is_nothing_to_wait_for():
    ranks = join("cpu")
    assert ranks == Ranks(0, 1, "cpu")
    assert ranks.share(3) == ranks.from_first(int, 3) == 3
    calls = []
    assert ranks.first_then_all(calls.append, 1) is None
    assert calls == [1]  # no image is decoded twice
    ranks.wait()


LAUNCHED = {
    "WORLD_SIZE": "2",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in ("WORLD_SIZE", "RANK", "MASTER_PORT")
            for value in ("", "two", "-1", "1.5", "²")
        ),
        *((name, None) for name in ("RANK", "MASTER_ADDR", "MASTER_PORT")),
        ("WORLD_SIZE", "0"),
        ("RANK", "2"),
        ("LOCAL_RANK", ""),
        ("MASTER_ADDR", ""),
    ],
)
def test_variables_that_torchrun_did_not_set_are_refused(monkeypatch, name, value):
    for key, text in (LAUNCHED | {name: value}).items():
        (
            monkeypatch.setenv(key, text)
            if text is not None
            else monkeypatch.delenv(key, raising=False)
        )
    with pytest.raises(UserError, match=rf"{name}.*start with torchrun or unset WORLD_SIZE"):
        join("cpu")


@pytest.mark.parametrize(
    "left", [{"WORLD_SIZE": "1"}, {"RANK": "3"}, {"SLURM_NTASKS": "4", "PMI_SIZE": "4"}]
)
def test_a_single_process_joins_no_group(monkeypatch, left):
    for key in LAUNCHED:
        monkeypatch.delenv(key, raising=False)
    for key, text in left.items():
        monkeypatch.setenv(key, text)
    assert join("cpu") == Ranks(0, 1, "cpu")


@pytest.mark.parametrize(
    ("rank", "count", "said"), [(0, 2, "1 more process ("), (1, 3, "2 more processes (")]
)
def test_a_process_says_that_it_waits_for_others(rank, count, said):
    place = LAUNCHED | {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_PORT": "29765"}
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | place
    code = "from bench.process.ranks import join; join('cpu')"
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True
    ) as waiting:
        try:
            lines = iter(waiting.stderr.readline, "")
            # Torch has its own words on the way
            line = next(line for line in lines if line.startswith("process "))
        finally:
            waiting.kill()
    assert line.startswith(
        f"process {rank} of {count}: waiting for {said}start with torchrun or unset WORLD_SIZE"
    )
