"""Hierarchical refinement against exact solutions, random blocks and SciPy's assignment."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from bench.data import load
from couplings import CouplingError, get
from couplings.batch.hiref import assign, parts_of
from couplings.diagnostics import optimality_gap


@pytest.mark.parametrize("n", [2, 3, 97, 128, 251])
@pytest.mark.parametrize("options", ["base=1", "base=7,rank=2", "base=16,rank=5", "base=40"])
def test_any_number_of_images_gives_a_permutation(pool, n, options):
    images, noise = pool(n, (5,))
    images[: n // 2] = images[0]  # duplicates
    found = get(f"hiref:{options}").pair(images, noise)
    assert sorted(found.index.tolist()) == list(range(n))
    assert found.report["parts"] >= n / int(options.split(",")[0].removeprefix("base="))


def test_a_pool_of_one_part_is_solved_exactly(pool):
    images, noise = pool(200)
    found = get("hiref:base=200").pair(images, noise)
    assert torch.equal(found.index, get("hungarian").pair(images, noise).index)
    assert found.report["parts"] == 1


def test_between_random_blocks_and_the_optimum(pool):
    """Blocks of an eighth of the pool: those of a random split lose three times as much."""
    images, noise = pool(512, (3, 8, 8))
    blocks = [get("lapjv").pair(images[r : r + 64], noise[r : r + 64]) for r in range(0, 512, 64)]
    in_blocks = torch.cat([64 * k + block.index for k, block in enumerate(blocks)])
    gap_of_blocks = optimality_gap(images, noise[in_blocks])
    index = get("hiref:base=64").pair(images, noise).index
    gap = optimality_gap(images, noise[index])
    assert 0 < gap < gap_of_blocks / 3
    # Larger parts and fewer levels are nearer to the optimum.
    larger = get("hiref:base=128").pair(images, noise).index
    levels = get("hiref:base=64,rank=2").pair(images, noise).index
    assert optimality_gap(images, noise[larger]) < gap < optimality_gap(images, noise[levels])


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_clouds_of_separate_clusters_are_split_along_them(seeded, offset):
    """Images around four corners, noise around the same: the optimum never leaves a corner."""
    generator = seeded(0)
    corners = torch.tensor([[1.0, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]]).double() * 20
    corner = torch.randint(4, (80,), generator=generator).sort().values
    corner[:80] = torch.arange(80) % 4
    images = corners[corner] + torch.randn(80, 3, generator=generator) + offset
    noise = corners[corner.flip(0)] + torch.randn(80, 3, generator=generator) + offset
    index = get("hiref:base=20,rank=4").pair(images, noise).index
    assert torch.equal(corner.flip(0)[index], corner)
    assert optimality_gap(images, noise[index]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("n", "base", "rank", "parts"),
    [
        (256, 256, 16, 1),
        (257, 256, 16, 2),
        (1024, 256, 16, 4),
        (1024, 64, 4, 4),
        (65536, 256, 16, 16),
        (65536, 1024, 64, 64),
        (65537, 256, 16, 7),
    ],
)
def test_levels_are_as_few_as_the_rank_allows(n, base, rank, parts):
    assert parts_of(n, base, rank) == parts


@pytest.mark.parametrize("sizes", [[300, 0, 0], [1, 298, 1], [100, 50, 150]])
def test_assigned_columns_keep_any_sizes(seeded, sizes):
    columns = assign(torch.randn(300, 3, generator=seeded(0)), torch.tensor(sizes))
    assert torch.bincount(columns, minlength=3).tolist() == sizes


def test_columns_in_equal_demand_get_nearly_the_largest_total(seeded):
    scores = torch.randn(300, 4, generator=seeded(0))
    sizes = torch.full((4,), 75)
    columns = assign(scores, sizes)
    copies = np.repeat(np.arange(4), sizes)
    rows, best = linear_sum_assignment(scores.numpy()[:, copies], maximize=True)
    optimum = scores.numpy()[rows, copies[best]].sum()
    assert 0.93 * optimum < float(scores.gather(1, columns[:, None]).sum()) <= optimum + 1e-3


def test_no_operation_needs_a_matrix_of_the_whole_pool(pool, largest_tensor):
    images, noise = pool(2000, (8,))
    with largest_tensor:
        get("hiref:base=64").pair(images, noise)
    assert largest_tensor.elements <= 2000 * 32


def test_on_fashion_mnist_small_parts_keep_most_of_the_gain(real_data):
    """Random blocks of 256 and of 64 reach gains of .89 and .75."""
    images = load("fashion-mnist", real_data).train.images[:1024].float() / 127.5 - 1
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    for base, most in ((256, 0.05), (64, 0.07)):
        index = get(f"hiref:base={base}").pair(images, noise).index
        assert optimality_gap(images, noise[index]) <= most


def test_bad_options_are_refused():
    with pytest.raises(CouplingError, match="base must be above 0"):
        get("hiref:base=0")
    with pytest.raises(CouplingError, match="rank must be above 1"):
        get("hiref:rank=1")
