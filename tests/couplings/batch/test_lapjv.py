import pytest
import torch

from couplings import Pool, get
from couplings.batch.lapjv import LEVELS, whole_numbers


def test_whole_numbers_keep_float32_exact():
    cost = (
        torch.rand(40, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e-3
    )
    cost -= cost.min()
    whole = whole_numbers(cost.clone())
    assert whole.dtype == torch.float32
    assert torch.equal(whole, whole.round())
    assert (whole.min(), whole.max()) == (0, LEVELS)
    # Half a level, and a quarter by float32
    assert (whole - cost * (LEVELS / cost.max())).abs().max() < 0.8
    assert not whole_numbers(torch.zeros(3, 3)).any()


@pytest.mark.parametrize("peak", [1e-44, 1e-38, 1e-32, 1e-20, 1e20, 1e38])
def test_whole_numbers_of_any_range(peak):
    cost = torch.tensor([[0, peak], [peak, 0]], dtype=torch.float32)
    assert whole_numbers(cost).tolist() == [[0, LEVELS], [LEVELS, 0]]


def test_near_ties_of_low_dimensions_end(seeded):
    """1-D products are all near-ties, where float32 prices that change by nothing would make no
    progress.
    """
    images, noise = (torch.randn(400, 1, generator=seeded(seed)) for seed in (0, 1))
    exact, found = (
        get(name).pair(images, noise).report["cost_after"] for name in ("hungarian", "lapjv")
    )
    assert abs(found - exact) < 1e-5


def test_one_outlier_does_not_spoil_the_total(pool):
    images, noise = pool(50)
    images[0] *= 1e6
    exact, found = (get(name).pair(images, noise).report for name in ("hungarian", "lapjv"))
    assert abs(found["cost_after"] / exact["cost_after"] - 1) < 1e-6


def test_the_memory_of_prices_is_that_of_the_components_solved_in():
    """A plane has prices from 64 images on, pixels have them from 256 on."""
    assert get("lapjv:project=pca:4").peak_bytes(100, 3072) == 8 * 100**2
    assert get("lapjv:project=pca:5").peak_bytes(100, 3072) == 4 * 100**2


def mean_squared_distance(images, noise) -> float:
    return float((images.double() - noise.double()).flatten(1).square().sum(1).mean())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_saving_is_that_of_squared_distances(pool, scale):
    images, noise = (x.flatten(1) * scale for x in pool(200, (3, 16, 16)))
    solved = get("lapjv").solve(Pool(images, noise))
    expected = mean_squared_distance(images, noise) - mean_squared_distance(
        images, noise[solved.index]
    )
    assert abs(solved.saving.mean - expected) <= solved.saving.error
    assert solved.saving.error < 1e-4 * expected


@pytest.mark.parametrize("spec", ["lapjv:cost=l2", "lapjv:project=pca:5"])
def test_no_saving_where_the_costs_are_others(pool, spec):
    assert get(spec).solve(Pool(*(x.flatten(1) for x in pool(20)))).saving is None


@pytest.mark.parametrize("offset", [0.0, 30.0, 1e3, 1e6])
@pytest.mark.parametrize("spread", [0.0, 1e-4, 1.0])
@pytest.mark.parametrize("shape", [(1,), (3, 16, 16)])
def test_the_cost_as_paired_keeps_its_digits(pool, shape, spread, offset):
    """Also where the pairing saves all of the cost but little, or an offset takes the digits of the
    products.
    """
    images, noise = pool(64, shape)
    noise = images.flip(0) + spread * noise
    images = images + offset
    noise = noise + offset
    pairing = get("lapjv").pair(images, noise)
    expected = mean_squared_distance(images, noise[pairing.index])
    assert pairing.report["cost_after"] == pytest.approx(expected, rel=2e-6)
