import torch

from couplings import get
from couplings.lapjv import LEVELS, whole_numbers


def test_whole_numbers_keep_float32_exact():
    cost = torch.rand(40, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-3
    cost -= cost.min()
    whole = whole_numbers(cost.clone())
    assert whole.dtype == torch.float32
    assert torch.equal(whole, whole.round())
    assert (whole.min(), whole.max()) == (0, LEVELS)
    assert (whole - cost * (LEVELS / cost.max())).abs().max() < 0.8  # half a level, and a quarter by float32
    assert not whole_numbers(torch.zeros(3, 3)).any()


def test_near_ties_of_low_dimensions_end(seeded):
    """1-D products are all near-ties, where float32 prices that change by nothing would make no progress."""
    images, noise = (torch.randn(400, 1, generator=seeded(seed)) for seed in (0, 1))
    exact, found = (get(name).pair(images, noise).report["cost_after"] for name in ("hungarian", "lapjv"))
    assert abs(found - exact) < 1e-5


def test_one_outlier_does_not_spoil_the_total(pool):
    images, noise = pool(50)
    images[0] *= 1e6
    exact, found = (get(name).pair(images, noise).report for name in ("hungarian", "lapjv"))
    assert abs(found["cost_after"] / exact["cost_after"] - 1) < 1e-6
