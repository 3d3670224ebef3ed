"""Binary space partitions: halvings against sorting, merged plans by their cost, and POT's."""

import pytest
import torch

from couplings import CouplingError, get
from couplings.batch.bsp import halved, merged
from couplings.diagnostics import optimality_gap, transport_cost
from couplings.plan import import_pot


@pytest.mark.parametrize("n", [2, 3, 17, 64])
def test_halving_along_one_line_is_sorting(seeded, n):
    """The same projections at every level: the cells are quantiles of the line."""
    x, z = torch.randn(2, n, generator=seeded(0), dtype=torch.float64)
    index = halved(x[:, None].expand(n, 6), z[:, None].expand(n, 6))
    assert torch.equal(z[index].argsort(), x.argsort())


def test_the_first_line_decides_the_half(seeded):
    x, z = torch.randn(2, 32, 5, generator=seeded(0), dtype=torch.float64)
    index = halved(x, z)
    assert torch.equal(x[:, 0] > x[:, 0].median(), z[index, 0] > z[:, 0].median())


def test_a_merger_is_no_dearer_than_the_best_and_takes_pairs_of_the_plan(pool, seeded):
    x, z = (points.flatten(1) for points in pool(200))
    best, plan = (torch.randperm(200, generator=seeded(seed)) for seed in (1, 2))
    for _ in range(5):
        after = merged(x, z, best, plan)
        assert sorted(after.tolist()) == list(range(200))
        assert transport_cost(x, z[after]) <= transport_cost(x, z[best])
        moved = after != best
        # Of the two pairs of an exchange, one at least is the plan's.
        assert 2 * int((after == plan)[moved].sum()) >= int(moved.sum()) > 0
        best = after
        plan = torch.randperm(200, generator=seeded(int(plan[0])))


def test_in_the_plane_it_is_near_the_optimum_and_beside_pots(pool, seeded):
    images, noise = (points.double() for points in pool(400, (2,)))
    index = get("bsp").pair(images, noise, generator=seeded(0)).index
    gap = optimality_gap(images, noise[index])
    _, theirs, _ = import_pot().bsp.compute_bspot_bijection(
        images.numpy(), noise.numpy(), n_plans=64, gaussian_slicing=False
    )
    gap_of_pot = optimality_gap(images, noise[torch.as_tensor(theirs).long()])
    assert gap < 0.03
    assert gap == pytest.approx(gap_of_pot, abs=0.03)
    one = get("bsp:plans=1").pair(images, noise, generator=seeded(0)).index
    assert gap < optimality_gap(images, noise[one])


def test_no_plan_is_refused():
    with pytest.raises(CouplingError, match="plans must be above 0"):
        get("bsp:plans=0")
