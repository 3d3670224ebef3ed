import pytest
import torch

from bench.metrics import _target_variance as module
from bench.metrics._target_variance import partner_variance, posterior_variance
from couplings import diagnostics


def normal(*shape, seed=0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def uniform(n, q, seed=0) -> torch.Tensor:
    return torch.randint(n, (q,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_closed_form_of_gaussians(sigma):
    """y ~ N(0, s^2 I), independent noise: Var(y | x) = s^2 sigma^2 / (s^2 + sigma^2) each."""
    s = 0.8
    images, rows = s * normal(3000, 2, 1, 1), uniform(3000, 2000)
    exact = s**2 * sigma**2 / (s**2 + sigma**2)
    assert posterior_variance(
        images, rows, normal(2000, 2, 1, 1, seed=1), [sigma]
    ) == pytest.approx([exact], rel=0.08)


def test_two_points():
    """y = -1 or 1: Var(y | x) = 1 - tanh(x / sigma^2)^2, integrated over x on a grid."""
    sigma, grid = 0.7, torch.linspace(-9, 9, 20001, dtype=torch.float64)
    density = torch.exp(-((grid - 1) ** 2) / (2 * sigma**2)) / (sigma * (2 * torch.pi) ** 0.5)
    exact = torch.trapezoid(density * (1 - torch.tanh(grid / sigma**2) ** 2), grid).item()
    found = posterior_variance(
        torch.tensor([[-1.0], [1.0]]), uniform(2, 40_000), normal(40_000, 1), [sigma]
    )
    assert found == pytest.approx([exact], rel=0.04)


def test_agrees_with_the_other_estimator_on_all_sigmas_at_once():
    images = normal(300, 3)
    noise = normal(300, 3, seed=1)
    sigmas = [0.1, 0.5, 1.0, 30.0]
    times = 12  # draws of the noise
    found = posterior_variance(
        images,
        torch.arange(300).repeat(times),
        torch.cat([normal(300, 3, seed=k) for k in range(1, times + 1)]),
        sigmas,
    )
    other = [diagnostics.posterior_variance(images, noise, sigma) for sigma in sigmas]
    assert found == pytest.approx(other, rel=0.1)
    assert found[-1] == pytest.approx(images.var(0, correction=0).mean().item(), rel=0.03)


def test_chunks_and_tiny_sigmas_cost_no_digits(monkeypatch):
    images, rows, noise = normal(50, 4), uniform(50, 20), normal(20, 4, seed=2)
    sigmas = [1e-3, 0.3, 3.0]
    expected = []
    for sigma in sigmas:  # as it is written
        x = images[rows] + sigma * noise
        weights = (-torch.cdist(x, images).square() / (2 * sigma**2)).softmax(1)
        expected.append(
            (weights * torch.cdist(images[rows], images).square()).sum(1).mean().item() / 8
        )
    monkeypatch.setattr(module, "CHUNK", 7)
    assert posterior_variance(images, rows, noise, sigmas) == pytest.approx(
        expected, rel=1e-6, abs=1e-15
    )
    assert posterior_variance(images.float(), rows, noise.float(), sigmas) == pytest.approx(
        expected, rel=1e-4, abs=1e-9
    )


def test_a_part_of_the_set_gives_a_lower_bound():
    images = normal(400, 3)
    whole = posterior_variance(images, uniform(400, 2000), normal(2000, 3, seed=1), [0.4])[0]
    parts = []
    for k in range(20):
        part = images[torch.randperm(400, generator=torch.Generator().manual_seed(k))[:40]]
        parts += posterior_variance(part, uniform(40, 200, k), normal(200, 3, seed=k), [0.4])
    assert sum(parts) / 20 < 0.8 * whole


def test_partners_of_a_gaussian_coupling():
    """y = a z + b e with e of its own in each pool: Var(y | z) = b^2."""
    z = normal(20_000, 3)
    first, second = (0.9 * z + 0.4 * normal(20_000, 3, seed=k) for k in (1, 2))
    assert partner_variance(first, second) == pytest.approx(0.16, rel=0.03)
    assert partner_variance(z, z) == 0  # an optimal map leaves nothing to guess
    # No coupling: Var(y)
    assert partner_variance(z, normal(20_000, 3, seed=1)) == pytest.approx(1, rel=0.03)
