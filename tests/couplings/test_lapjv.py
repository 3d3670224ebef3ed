import numpy as np
import torch

from couplings import get
from couplings.lapjv import LEVELS, whole_numbers


def test_whole_numbers_keep_float32_exact():
    cost = np.random.default_rng(0).normal(size=(40, 40)) * 1e-3 + 7
    whole = whole_numbers(cost)
    assert whole.dtype == np.float32
    assert np.array_equal(whole, np.rint(whole))
    assert whole.max() == -whole.min() == LEVELS
    quantum = np.ptp(cost) / (2 * LEVELS)
    assert np.abs(whole - (cost - (cost.min() + cost.max()) / 2) / quantum).max() <= 0.5 + 1e-6
    assert not whole_numbers(np.full((3, 3), 0.1)).any()


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
