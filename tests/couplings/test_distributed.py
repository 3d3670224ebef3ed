"""Three gloo processes run every case once and write down what they got; the tests compare it with
one process.
"""

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed

from couplings import CouplingError, get
from couplings.distributed import pair_global

ROOT = Path(__file__).parents[2]
WORLD = 3
HALVES = (48, 48)  # of the ranks 1 and 2 of the world, which are the ranks 0 and 1 of a group
THIRDS = (5, 0, 33)  # of all three
SHAPE = (3, 4, 4)

# name: (spec, sizes); the seed of the generator is the rank's in the group
EQUAL = {
    "lapjv": ("lapjv", HALVES),
    "sinkhorn": ("sinkhorn:epsilon=0.5", HALVES),
    "within_class": ("lapjv:within_class=true", HALVES),
    "unequal": ("lapjv", THIRDS),
    "unequal_within_class": ("sinkhorn:epsilon=0.5,within_class=true", THIRDS),
    "nothing": ("lapjv", (0, 0)),
    "half_precision": ("lapjv", HALVES),
    "many_labels": ("lapjv:within_class=true", HALVES),
    "layouts": ("lapjv", HALVES),
    "users": ("my_project.turned:k=2", THIRDS),
    "jitter": ("lapjv:jitter=0.3", THIRDS),
    "last": ("lapjv", HALVES),  # after all errors
}
USERS = """
from dataclasses import dataclass

import torch

from couplings import Coupling, Pairing


@dataclass(frozen=True, kw_only=True)
class Turned(Coupling):
    k: int = 1

    def solve(self, pool):
        return Pairing(torch.arange(len(pool.images)).roll(self.k))
"""
ERRORS = {
    "no_labels": "needs labels",
    "no_generator": "generator",
    "nan": "noise hold NaN",
    "crash": "ZeroDivisionError: out of luck",
    "some_labels": "ranks differ in labels: torch.int64 .n. on rank 0, none on rank 1",
    "dtypes": (
        "ranks differ in the dtype of noise: torch.float32 on rank 0, torch.float64 on rank 1"
    ),
    "devices": "rank 1: .*meta",
    "shapes": "ranks differ in the shape of an image",
    "misfit": "rank 1: images and noise must have one shape",
    "no_tensor": "rank 1: images must be a torch tensor",
    "couplings": "ranks differ in the coupling: lapjv on rank 0, lapjv:cost=l2 on rank 1",
    "dataset": "dataset coupling .* assign",
    "spec": "get.'lapjv'.",
}


def whole(name: str, sizes: tuple[int, ...]):
    """Images, noise and labels of all ranks together."""
    n = sum(sizes)
    g = torch.Generator().manual_seed(len(name))
    images = torch.randn(n, *SHAPE, generator=g)
    noise = torch.randn(n, *SHAPE, generator=g)
    labels = torch.randint(3, (n,), generator=g)
    if name == "half_precision":
        images = images.half()
        noise = noise.bfloat16()
        labels = None
    if name == "many_labels":
        labels = torch.stack([labels > 0, labels > 1], 1)
    if name == "layouts":
        images = images.requires_grad_()
        noise = noise.to(memory_format=torch.channels_last).requires_grad_()
    return images, noise, labels


class Unlucky:
    def pair(self, images, noise, labels, generator):
        raise ZeroDivisionError("out of luck")


def wrong(name: str, rank: int):
    """Arguments of a rank that must be refused on all."""
    coupling = get("lapjv")
    (images, noise, labels) = whole(name, (8,))
    generator = torch.Generator()
    last = rank == 1
    if name == "no_labels":
        coupling = get("lapjv:within_class=true")
        labels = None
    elif name == "no_generator":
        coupling = get("sinkhorn")
        generator = generator if last else None
    elif name == "nan" and last:
        noise[3] = torch.nan
    elif name == "crash":
        coupling = Unlucky()
    elif name == "some_labels":
        labels = None if last else labels
    elif name == "dtypes" and last:
        noise = noise.double()
    elif name == "devices" and last:
        images = images.to("meta")
        noise = noise.to("meta")
    elif name == "shapes" and last:
        images = images[:, :2]
        noise = noise[:, :2]
    elif name == "misfit" and last:
        noise = noise[1:]
    elif name == "no_tensor" and last:
        images = None
    elif name == "couplings" and last:
        coupling = get("lapjv:cost=l2")
    elif name == "dataset":
        coupling = get("semidiscrete")
    elif name == "spec":
        coupling = "lapjv"
    return coupling, images, noise, labels, generator


def outcome(*args):
    try:
        pairing = pair_global(*args)
    except Exception as error:  # noqa: BLE001
        return {"error": type(error).__name__, "message": str(error)}
    return {"noise": pairing.noise, "index": pairing.index, "report": pairing.report}


def run_equal(name: str, pair):
    """The outcome for this rank's rows of the whole pool, in the group that the sizes ask for."""
    spec, sizes = EQUAL[name]
    group = pair if len(sizes) == 2 else None
    rank = distributed.get_rank(group)
    if rank < 0:
        return None
    parts = [part if part is None else part.split(list(sizes))[rank] for part in whole(name, sizes)]
    return outcome(get(spec), *parts, torch.Generator().manual_seed(rank), group)


def main(rank: int, folder: Path) -> None:
    """Run all cases in one process and save the outcomes."""
    store = f"file://{folder}/store"
    distributed.init_process_group(
        "gloo", init_method=store, rank=rank, world_size=WORLD, timeout=timedelta(seconds=30)
    )
    pair = distributed.new_group([1, 2])
    found = {name: run_equal(name, pair) for name in EQUAL if name != "last"}
    if rank:
        found |= {name: outcome(*wrong(name, rank - 1), pair) for name in ERRORS}
        found["last"] = run_equal("last", pair)
    else:
        found["outsider"] = outcome(*wrong("", 0), pair)
    torch.save(found, folder / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder on the path with a user's own coupling."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "my_project").mkdir()
    (folder / "my_project/turned.py").write_text(USERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "my_project"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def found(tmp_path_factory, project):
    """The outcomes in every process of the world, by rank and name."""
    folder = tmp_path_factory.mktemp("ranks")
    path = os.pathsep.join([str(ROOT), str(project)])
    environment = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "-m", "tests.couplings.test_distributed"]
    processes = []
    try:
        for rank in range(WORLD):
            args = [*command, str(rank), str(folder)]
            processes.append(
                subprocess.Popen(args, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
            )
        deadline = time.monotonic() + 90
        for process in processes:
            errors = process.communicate(timeout=max(1, deadline - time.monotonic()))[1]
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


@pytest.mark.parametrize("name", EQUAL)
def test_ranks_get_what_one_process_with_the_whole_pool_gets(found, name):
    spec, sizes = EQUAL[name]
    images, noise, labels = whole(name, sizes)
    alone = get(spec).pair(images, noise, labels, torch.Generator().manual_seed(0))
    ranks = [rank[name] for rank in found[-len(sizes) :]]
    assert all("error" not in rank for rank in ranks), ranks
    assert [len(rank["noise"]) for rank in ranks] == list(sizes)
    assert torch.equal(torch.cat([rank["index"] for rank in ranks]), alone.index)
    for rank, expected in zip(ranks, alone.of(noise).split(list(sizes)), strict=True):
        assert rank["noise"].dtype == noise.dtype
        assert torch.equal(rank["noise"], expected)
        assert not rank["noise"].requires_grad
        report = dict(rank["report"])
        assert report == ranks[0]["report"]
        assert report.pop("ranks") == len(sizes)
        assert report.pop("gather_seconds") >= 0
        assert report.keys() == alone.report.keys()
        assert all(report[key] == alone.report[key] for key in report if key != "seconds")


def test_noises_cross_from_rank_to_rank(found):
    """Else the test above would say little."""
    first, second = (rank["lapjv"]["index"] for rank in found[1:])
    assert 10 < (first >= HALVES[0]).sum() < 38
    assert 10 < (second < HALVES[0]).sum() < 38


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_reaches_all_ranks_in_one_line(found, name):
    ranks = [rank[name] for rank in found[1:]]
    assert ranks[0] == ranks[1]
    assert ranks[0]["error"] == "CouplingError"
    with pytest.raises(CouplingError, match=ERRORS[name]):
        raise CouplingError(ranks[0]["message"])
    assert "\n" not in ranks[0]["message"]


def test_a_process_outside_the_group_is_told(found):
    assert found[0]["outsider"]["error"] == "CouplingError"
    assert "not in the group" in found[0]["outsider"]["message"]


def test_without_a_process_group_it_is_pair(pool, seeded):
    assert not distributed.is_initialized()
    images, noise = pool(20)
    alone = get("sinkhorn").pair(images, noise, generator=seeded(3))
    pairing = pair_global(get("sinkhorn"), images, noise, generator=seeded(3))
    assert torch.equal(pairing.index, alone.index)
    assert torch.equal(pairing.noise, noise[alone.index])
    assert pairing.report["ranks"] == 1
    with pytest.raises(CouplingError, match="dataset coupling"):
        pair_global(get("semidiscrete"), images, noise)
    with pytest.raises(CouplingError, match="dataset coupling"):
        pair_global(get("cached").fit(images, generator=seeded(0)), images, noise)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    main(int(sys.argv[1]), Path(sys.argv[2]))
