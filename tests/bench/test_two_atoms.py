"""The exact world of two atoms: data -1 and +1, noise N(0, 1), exact coupling in pools of k.

Model of Boite, Delon and Nadjahi (arXiv 2605.12174, Prop. 4.3). The couplings reproduce its law of
the pairs, and the samplers its errors, which for two steps are not monotone in the pool.
"""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm

from couplings import get
from models.analytic import TwoAtoms

EXACT = ("lapjv", "hungarian", "minibatch-ot")
POOLS = (1, 2, 4, 16, 64, 256)
PLACES = (-0.95, -0.5, 0.0, 0.5, 0.95)
FAMILYWISE = 0.001  # chance that correct couplings fail any of these tests, for fresh seeds
TESTS = len(EXACT) * len(POOLS) * len(PLACES)


def law(k, x):
    """h_k(x) by adding up both binomial laws, with whole numbers where there are any."""
    p = norm.cdf(x)
    total = 0.0
    ways = 0  # to choose at most r images that are -1, a whole number
    for r in range(k):
        ways += math.comb(k, r)
        total += math.comb(k - 1, r) * p**r * (1 - p) ** (k - 1 - r) * (ways / 2**k)
    return total


def places(k):
    """Noise where h_k is well inside (0, 1): Phi differs from 1/2 by about sqrt(1 / 2k) there."""
    return [norm.ppf(0.5 + u * min(0.5, 1.25 / math.sqrt(k))) for u in PLACES]


def draw_pool(k, x, generator):
    """Images and noise ``[k, 1]`` of one pool; the noise sample 0 is x."""
    images = 2 * torch.randint(2, (k, 1), generator=generator).float() - 1
    noise = torch.randn(k, 1, generator=generator)
    noise[0] = x
    return images, noise


def image_of_first(coupling, k, x, generator):
    """The image that the noise sample 0, which is x, is paired with."""
    images, noise = draw_pool(k, x, generator)
    index = coupling.pair(images, noise, generator=generator).index
    return images[index == 0].item()


def times_plus(name, k, x, pools):
    """Number of pools in which a noise sample x is paired with +1: one pair each, so binomial."""
    generator = torch.Generator().manual_seed(k)
    coupling = get(name)
    ends = [image_of_first(coupling, k, x, generator) for _ in range(pools)]
    return ends.count(1.0)


@pytest.mark.parametrize("k", POOLS)
def test_the_law_is_that_of_both_binomials(k):
    x = [*places(k), -3.0, 3.0]
    expected = [law(k, value) for value in x]
    found = TwoAtoms(k).share_of_plus(torch.tensor(x).double())
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("k", POOLS)
@pytest.mark.parametrize("name", EXACT)
def test_exact_couplings_give_the_largest_noise_to_plus(name, k):
    """In one dimension the exact coupling sorts, and ties are between equal images only."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        images, noise = draw_pool(k, 0.1, generator)
        paired = noise[get(name).pair(images, noise, generator=generator).index]
        plus = images > 0
        assert paired.sort(0).values.equal(noise.sort(0).values)
        if plus.any() and not plus.all():
            assert paired[plus].min() > paired[~plus].max()


@pytest.mark.parametrize("k", POOLS)
@pytest.mark.parametrize("name", EXACT)
def test_pools_reproduce_the_law_within_binomial_error(name, k):
    """Exact tests, of which correct couplings fail any with the chance FAMILYWISE (Bonferroni)."""
    pools = 60 if k == 256 else 200  # those of 256 take scipy 15 ms each
    for x in places(k):
        plus = times_plus(name, k, x, pools)
        assert binomtest(plus, pools, law(k, x)).pvalue > FAMILYWISE / TESTS, (x, plus)


@pytest.mark.parametrize("k", [4, 64])
def test_random_pairs_fail_the_same_test(k):
    pools = 200
    values = [
        binomtest(times_plus("random", k, x, pools), pools, law(k, x)).pvalue for x in places(k)
    ]
    assert min(values) < FAMILYWISE / TESTS
