import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from models.analytic import GaussianMixture


def mixture(means, std, weights) -> GaussianMixture:
    means, std, weights = (torch.tensor(v, dtype=torch.float64) for v in (means, std, weights))
    return GaussianMixture(means, std, weights)


def normal(x, mean, variance):
    return math.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


@pytest.mark.parametrize("sigma", [0.05, 0.7, 5.0])
@pytest.mark.parametrize("x", [-2.0, 0.1, 1.3])
def test_denoiser_is_the_posterior_mean_by_quadrature(sigma, x):
    means, std, weights = [-1.0, 0.2, 1.5], [0.3, 0.1, 0.5], [0.2, 0.3, 0.5]

    def joint(y):
        density = sum(w * normal(y, m, s**2) for m, s, w in zip(means, std, weights, strict=True))
        return density * normal(x, y, sigma**2)

    where = {"points": [*means, x], "limit": 200, "epsabs": 0, "epsrel": 1e-10}
    mass = quad(joint, -8, 8, **where)[0]
    expected = quad(lambda y: y * joint(y), -8, 8, **where)[0] / mass
    got = mixture([[m] for m in means], std, weights).denoise(
        torch.tensor([[x]]).double(), torch.tensor(sigma)
    )
    assert got.item() == pytest.approx(expected, rel=1e-7)


def test_single_gaussian_shrinks_towards_its_mean(seeded):
    gaussian = mixture([[0.3, -0.2]], [0.5], [1.0])
    x = torch.randn(4, 2, generator=seeded(), dtype=torch.float64)
    sigma = torch.tensor([0.1, 0.5, 2.0, 50.0], dtype=torch.float64)
    shrink = (0.25 / (0.25 + sigma**2))[:, None]
    torch.testing.assert_close(
        gaussian.denoise(x, sigma), gaussian.means + shrink * (x - gaussian.means)
    )


def test_images_keep_their_shape_and_a_scalar_sigma_serves_all(seeded):
    gm = mixture([[1.0, 0, 0, 0], [0, -1.0, 0, 0]], [0.2, 0.4], [0.4, 0.6])
    x = torch.randn(3, 1, 2, 2, generator=seeded())
    got = gm.denoise(x, torch.tensor(0.6))
    assert got.shape == x.shape
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, gm.denoise(x, torch.full((3,), 0.6)))
    torch.testing.assert_close(got[:1], gm.denoise(x[:1], 0.6))


def test_far_from_every_component_nothing_underflows():
    gm = mixture([[-1.0], [1.0]], [0.1, 0.1], [0.5, 0.5])
    got = gm.denoise(torch.tensor([[40.0]], dtype=torch.float64), 0.01)
    expected = 1 + 0.01 / (0.01 + 1e-4) * 39  # the nearer component alone
    assert got.item() == pytest.approx(expected, rel=1e-9)


def test_samples_follow_the_mixture(seeded):
    """Fractions and moments of 20,000 draws, within five standard errors."""
    gm = mixture([[-5.0, 0.0], [5.0, 2.0]], [0.5, 1.0], [0.3, 0.7])
    x = gm.sample(20_000, seeded())
    assert x.shape == (20_000, 2)
    left = x[:, 0] < 0
    assert left.double().mean().item() == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / 20_000))
    for part, mean, std in ((x[left], [-5.0, 0.0], 0.5), (x[~left], [5.0, 2.0], 1.0)):
        np.testing.assert_allclose(part.mean(0), mean, atol=5 * std / math.sqrt(len(part)))
        np.testing.assert_allclose(part.std(0), std, rtol=5 / math.sqrt(2 * len(part)))
    assert torch.equal(x, gm.sample(20_000, seeded()))
