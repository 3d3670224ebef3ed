"""The stochastic sampler against the exact law of a Gaussian: no network, no training."""

import pytest
import torch

from models.analytic import GaussianMixture
from models.ode import SigmaODE
from models.samplers.contract import CountNFE
from models.samplers.euler_maruyama import euler_maruyama
from models.schedules.karras import karras_sigmas

STD = 0.5
GAUSSIAN = GaussianMixture(
    torch.tensor([[0.3]]).double(), torch.tensor([STD]).double(), torch.ones(1).double()
)


def streams(n: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed * 10_000 + i) for i in range(n)]


def sample(n: int, steps: int, sigma_max: float = 5.0, denoise=GAUSSIAN.denoise):
    noise = torch.randn(n, 1, generator=torch.Generator().manual_seed(1)).double()
    # The law of noisy data there
    start = noise * (1 + (STD / sigma_max) ** 2) ** 0.5 + 0.3 / sigma_max
    sigmas = karras_sigmas(steps, 3, 0.01, sigma_max)
    return euler_maruyama(SigmaODE(denoise), start, sigmas, streams=streams(n))


def linear_law(sigmas: list[float], variance: float) -> float:
    """Variance after the steps: for a Gaussian every step is linear in x."""
    for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
        share = (sigma**2 - sigma_next**2) / (STD**2 + sigma**2)
        variance = (1 - share) ** 2 * variance + (sigma**2 - sigma_next**2) * (sigma_next > 0)
    return variance


def test_moments_are_those_of_the_scheme():
    x = sample(4000, 12)
    expected = linear_law(karras_sigmas(12, 3, 0.01, 5.0).tolist(), STD**2 + 25)
    assert x.var().item() == pytest.approx(expected, rel=0.08)
    assert x.mean().item() == pytest.approx(0.3, abs=0.04)


def test_the_scheme_converges_to_the_data_with_order_one():
    bias = [
        linear_law(karras_sigmas(n, 3, 0.001, 5.0).tolist(), STD**2 + 25) - STD**2
        for n in (200, 400)
    ]
    assert 0 < bias[1] < 0.02
    assert bias[0] / bias[1] == pytest.approx(2, rel=0.1)


def test_chunks_do_not_matter_and_every_step_is_one_evaluation():
    denoise = CountNFE(GAUSSIAN.denoise)
    noise, sigmas = torch.randn(6, 1, generator=torch.Generator().manual_seed(0)), karras_sigmas(7)
    whole = euler_maruyama(SigmaODE(denoise), noise, sigmas, streams=streams(6))
    assert denoise.nfe == 7
    part = euler_maruyama(SigmaODE(denoise), noise[4:], sigmas, streams=streams(6)[4:])
    assert torch.equal(whole[4:], part)
    assert whole.dtype == torch.float64


def test_a_stream_each():
    with pytest.raises(ValueError, match="one generator for each"):
        euler_maruyama(
            SigmaODE(GAUSSIAN.denoise), torch.ones(2, 1), karras_sigmas(3), streams=streams(1)
        )
