"""PairedLoader against coupling by hand, and its order of random numbers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.utils.data import DataLoader, TensorDataset

from couplings import CouplingError, get
from couplings.loader import PairedLoader

ROOT = Path(__file__).parents[2]
SHAPE = (2, 3, 3)


def dataset(n=22):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(n, *SHAPE, generator=generator) / 2
    return TensorDataset(images, torch.arange(n) % 3, torch.arange(n))


def loader(n=22, batch=4, **options):
    return DataLoader(dataset(n), batch, **options)


def by_hand(batches, coupling, generator=None):
    """Pair all images of some batches at once, with the noise that they came with."""
    images = torch.cat([batch[0] for batch in batches])
    noise = torch.cat([batch[1] for batch in batches])
    labels = torch.cat([batch[2] for batch in batches])
    return coupling.pair(images, noise, labels, generator)


@pytest.mark.parametrize("pool", [1, 2, 4, 100])
def test_pairs_are_those_of_the_coupling_by_hand(pool):
    """Random pairing leaves the noise where it was drawn, so it shows what lapjv was given."""
    drawn = list(PairedLoader(loader(), "random", pool=pool, seed=3))
    paired = list(PairedLoader(loader(), "lapjv", pool=pool, seed=3))
    for start in range(0, 6, pool):
        pairing = by_hand(drawn[start : start + pool], get("lapjv"))
        noise = torch.cat([batch[1] for batch in paired[start : start + pool]])
        assert torch.equal(noise, pairing.noise)
    # Batches, labels and order are the loader's; the last batch is short.
    assert [len(batch[0]) for batch in paired] == [4, 4, 4, 4, 4, 2]
    for given, got in zip(loader(), paired, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(given, (got[0], *got[2:]), strict=True))
    assert len(PairedLoader(loader(), "lapjv", pool=pool)) == 6


def test_within_class_takes_the_labels_that_follow_the_images():
    spec = "lapjv:within_class=true"
    drawn = list(PairedLoader(loader(), "random", pool=3))
    paired = list(PairedLoader(loader(), spec, pool=3))
    expected = by_hand(drawn[:3], get(spec)).noise
    assert torch.equal(torch.cat([batch[1] for batch in paired[:3]]), expected)
    # It is another pairing than that of all classes together.
    assert not torch.equal(expected, by_hand(drawn[:3], get("lapjv")).noise)
    images_only = DataLoader(dataset()[:][0], 4)
    with pytest.raises(CouplingError, match="needs labels"):
        next(iter(PairedLoader(images_only, spec)))
    # A batch may be the images alone, and need no labels.
    images, noise = next(iter(PairedLoader(images_only, "lapjv")))
    assert images.shape == noise.shape == (4, *SHAPE)


def test_epochs_seeds_and_resumed_runs():
    def noise(paired):
        return torch.cat([batch[1] for batch in paired])

    paired = PairedLoader(loader(), "sinkhorn", pool=2, seed=1)
    first, second = noise(paired), noise(paired)
    assert not torch.equal(first, second)
    assert torch.equal(noise(PairedLoader(loader(), "sinkhorn", pool=2, seed=1)), first)
    assert not torch.equal(noise(PairedLoader(loader(), "sinkhorn", pool=2, seed=2)), first)
    resumed = PairedLoader(loader(), "sinkhorn", pool=2, seed=1)
    resumed.epoch = 1
    assert torch.equal(noise(resumed), second)
    # The generator of the program, which a DataLoader draws from, is left alone.
    batches = list(loader())
    before = torch.get_rng_state()
    list(PairedLoader(batches, "sinkhorn"))
    assert torch.equal(torch.get_rng_state(), before)
    assert paired.report["cost_after"] < paired.report["cost_before"]


class Flipped(torch.utils.data.Dataset):
    """Augments by worker processes, and yields a name that is no tensor."""

    def __len__(self):
        return 10

    def __getitem__(self, row):
        return dataset()[row][0].flip(-1), f"image {row}"


def test_worker_processes_augment_before_and_names_stay_with_their_images():
    given = DataLoader(Flipped(), 4, num_workers=1, multiprocessing_context="spawn")
    batches = list(PairedLoader(given, "lapjv", pool=2, device="cpu"))
    images = torch.cat([batch[0] for batch in batches])
    assert torch.equal(images, dataset()[:10][0].flip(-1))
    names = [name for batch in batches for name in batch[2]]
    assert names == [f"image {row}" for row in range(10)]
    drawn = list(PairedLoader(DataLoader(Flipped(), 4), "random", pool=2))
    first = torch.cat([batch[1] for batch in drawn[:2]])
    expected = get("lapjv").pair(images[:8], first).noise
    assert torch.equal(torch.cat([batch[1] for batch in batches[:2]]), expected)


def test_half_precision_keeps_its_type():
    images = dataset()[:][0].half()
    ((_, noise),) = PairedLoader([images], "lapjv")
    assert noise.dtype == torch.float16


@pytest.mark.parametrize(
    ("batches", "coupling", "options", "words"),
    [
        ([], "semidiscrete", {}, "no batch coupling"),
        ([], "lapvj", {}, "did you mean lapjv"),
        ([], "lapjv", {"pool": 0}, "a whole number of batches is coupled at once"),
        ([], "lapjv", {"pool": 2.5}, "a whole number of batches is coupled at once"),
        ([], "lapjv", {"source": "moons"}, r"pass a function source\(shape, generator\)"),
        ([{"pixel_values": torch.zeros(4, 2)}], "lapjv", {}, "yield .images, labels. tuples"),
        ([torch.zeros(4, 2, dtype=torch.uint8)], "lapjv", {}, "floating point"),
    ],
)
def test_what_cannot_be_paired_is_refused_in_one_line(batches, coupling, options, words):
    with pytest.raises(CouplingError, match=words):
        list(PairedLoader(batches, coupling, **options))


def outcome(rank):
    """The batches of a rank, coupled with those of the other rank, and by itself."""
    rows = torch.arange(rank, 22, 2)
    own = TensorDataset(*dataset()[rows])
    found = {}
    for spec, over_ranks in (("random", False), ("lapjv", False), ("lapjv", True)):
        paired = PairedLoader(DataLoader(own, 4), spec, pool=2, over_ranks=over_ranks)
        found[spec, over_ranks] = list(paired)
    return found


def run_rank(rank, folder):
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    torch.save(outcome(rank), Path(folder) / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def test_pools_of_two_ranks_are_coupled_as_one(tmp_path):
    code = "import sys; from tests.couplings.test_loader import run_rank; "
    code += "run_rank(int(sys.argv[1]), sys.argv[2])"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    processes = []
    for rank in range(2):
        command = [sys.executable, "-c", code, str(rank), str(tmp_path)]
        processes.append(subprocess.Popen(command, cwd=ROOT, env=environment))
    try:
        assert [process.wait(90) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    # As drawn: different noise on each rank.
    drawn = [rank["random", False][:2] for rank in ranks]
    assert not torch.equal(drawn[0][0][1], drawn[1][0][1])
    pairing = by_hand([*drawn[0], *drawn[1]], get("lapjv"))
    paired = [batch[1] for rank in ranks for batch in rank["lapjv", True][:2]]
    assert torch.equal(torch.cat(paired), pairing.noise)
    own = by_hand(drawn[1], get("lapjv"))
    assert torch.equal(torch.cat([b[1] for b in ranks[1]["lapjv", False][:2]]), own.noise)


def test_noise_samples_may_come_from_a_source():
    """A training from one data set to another; the source's points are only permuted."""

    def source(shape, generator):
        return 5 + torch.rand(shape, generator=generator)

    images, drawn = next(iter(PairedLoader(loader(), "random", source=source)))[:2]
    _, paired = next(iter(PairedLoader(loader(), "lapjv", source=source)))[:2]
    assert drawn.min() >= 5
    assert torch.equal(drawn.flatten(1).sort(0).values, paired.flatten(1).sort(0).values)
    assert (images - paired).square().mean() < (images - drawn).square().mean()
    with pytest.raises(CouplingError, match="source returned"):
        next(iter(PairedLoader(loader(), "lapjv", source=lambda shape, g: torch.zeros(3))))
