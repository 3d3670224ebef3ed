"""The exact world of two atoms: data -1 and +1, noise N(0, 1), exact coupling in pools of k.

Model of Boite, Delon and Nadjahi (arXiv 2605.12174, Prop. 4.3). The couplings reproduce its law of
the pairs, and the samplers its errors.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm

from bench.metrics.truncation import truncation_error
from couplings import get
from models.analytic import TwoAtoms
from models.ode import FlowODE, SigmaODE
from models.samplers.euler import euler
from models.samplers.heun import heun
from models.schedules.flow import Flow
from models.schedules.karras import Karras

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
    pools = 40 if k == 256 else 120  # those of 256 take scipy 15 ms each
    for x in places(k):
        plus = times_plus(name, k, x, pools)
        assert binomtest(plus, pools, law(k, x)).pvalue > FAMILYWISE / TESTS, (x, plus)


@pytest.mark.parametrize("k", [4, 64])
def test_random_pairs_fail_the_same_test(k):
    pools = 120
    values = [
        binomtest(times_plus("random", k, x, pools), pools, law(k, x)).pvalue for x in places(k)
    ]
    assert min(values) < FAMILYWISE / TESTS


# Mean |end of n Euler steps - sign of the noise sample|, by pool k: the steps' error, for the ODE
# ends at the sign. Shares computed as 1 - h lose their tails in float64, and with them these
# errors: at n = 2 they would rise from 0.0067 at k = 64 to 0.03 at k = 1024.
ERRORS = {
    1: {1: "1", 2: ".75", 4: ".5469", 16: ".2799", 64: ".1408", 256: ".0705", 1024: ".0353"},
    2: {1: ".444", 2: ".277", 4: ".156", 16: ".0374", 64: ".0067", 256: ".0010"},
    5: {1: ".0170", 2: ".0097", 4: ".0047", 16: ".0006", 64: ".0000", 256: ".0000"},
}
CELLS = [(steps, k) for steps, row in ERRORS.items() for k in row]


def quantiles(n):
    return norm.ppf((np.arange(n) + 0.5) / n)


def ends_of_euler(k, steps, noise):
    """The same steps in their own coordinates: time u from noise to data, velocity (m - x) / (1 -
    u).
    """
    x = noise.copy()
    for step in range(steps):
        u = step / steps
        a = (x - u) / (1 - u)
        b = (x + u) / (1 - u)
        # Binomial laws by summation; a probability that underflows is far from 1/2 in any case.
        plus = np.log(np.maximum(law(k, a), 1e-300))
        minus = np.log(np.maximum(law(k, -b), 1e-300))
        m = np.tanh((norm.logpdf(a) + plus - norm.logpdf(b) - minus) / 2)
        x = x + (m - x) / (1 - u) / steps
    return x


def sampled(k, steps, noise, sampler=euler):
    latents = torch.from_numpy(noise).reshape(-1, 1, 1, 1)
    times = Flow().times(steps, sigma_min=0.0, sigma_max=math.inf)
    return sampler(FlowODE(TwoAtoms(k)), latents, times)


@pytest.mark.parametrize(("steps", "k"), CELLS)
def test_euler_ends_where_the_closed_form_says(steps, k):
    noise = quantiles(400)
    found = sampled(k, steps, noise).flatten().numpy()
    np.testing.assert_allclose(found, ends_of_euler(k, steps, noise), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("steps", "k"), CELLS)
def test_errors_of_few_steps_are_those_of_the_table(steps, k):
    noise = quantiles(2000 if k >= 256 else 20_000)
    error = (sampled(k, steps, noise).flatten() - torch.from_numpy(np.sign(noise))).abs().mean()
    text = ERRORS[steps][k]
    # Half of its last digit, and what 2,000 quantiles miss of 20,000.
    last = 10.0 ** -len(text.partition(".")[2])
    assert error.item() == pytest.approx(float(text), abs=0.51 * last)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_a_larger_pool_is_better_at_every_number_of_steps(steps):
    noise = quantiles(1000)
    signs = torch.from_numpy(np.sign(noise)).reshape(-1, 1, 1, 1)
    errors = [truncation_error(sampled(k, steps, noise), signs) for k in (1, 4, 16, 64, 256, 1024)]
    for smaller_pool, larger_pool in itertools.pairwise(errors):
        assert larger_pool < smaller_pool or larger_pool < 1e-9


@pytest.mark.parametrize("k", [1, 4, 64])
def test_the_ode_ends_at_the_sign_of_its_noise_sample(k):
    """In both coordinates. Along Karras' levels the start at sigma 80 is not quite pure noise."""
    noise = quantiles(200)  # the nearest to 0 are -0.006 and 0.006
    latents = torch.from_numpy(noise).reshape(-1, 1, 1, 1)
    signs = torch.from_numpy(np.sign(noise)).reshape(-1, 1, 1, 1)
    assert truncation_error(sampled(k, 200, noise, heun), signs) < 2e-3
    levels = Karras().times(200, sigma_min=0.002, sigma_max=1e4)
    assert truncation_error(heun(SigmaODE(TwoAtoms(k)), latents, levels), signs) < 2e-3


def test_an_infinite_pool_gives_every_positive_noise_sample_to_plus():
    """The limit that ``semidiscrete`` solves: h is 1 above 0 and 0 below."""
    noise = torch.tensor([-2.0, -0.2, 0.2, 2.0]).double()
    assert TwoAtoms(4096).share_of_plus(noise).round(decimals=6).tolist() == [0, 0, 1, 1]
