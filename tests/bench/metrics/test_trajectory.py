"""Curvature against the closed-form path of a Gaussian."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from bench.metrics.trajectory import Path, Point, curvature_fm
from models.analytic import GaussianMixture
from models.samplers import heun
from models.schedule import karras_sigmas

MEAN, STD, HIGH, LOW = 0.3, 0.5, 80.0, 0.002
GAUSSIAN = GaussianMixture(torch.tensor([[MEAN, MEAN]]).double(), torch.tensor([STD]).double(), torch.ones(1).double())


@pytest.fixture
def latents():
    return torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def x_at(sigma, start):
    return MEAN + (start - MEAN) * math.sqrt((STD**2 + sigma**2) / (STD**2 + HIGH**2))


def denoised_at(sigma, start):
    return MEAN + STD**2 / (STD**2 + sigma**2) * (x_at(sigma, start) - MEAN)


def z_at(t, start):
    return x_at(t / (1 - t), start) * (1 - t)  # z = x / (1 + sigma), sigma = t / (1 - t)


def velocity_at(t, start):
    sigma = t / (1 - t)
    return (x_at(sigma, start) - denoised_at(sigma, start)) / sigma - denoised_at(sigma, start)


def closed_form(starts: np.ndarray) -> float:
    """The definition by adaptive quadrature over t, averaged over samples and dimensions."""
    last, first = LOW / (1 + LOW), HIGH / (1 + HIGH)
    values = []
    for start in starts.ravel():
        chord = (z_at(first, start) - z_at(last, start)) / (first - last)
        area = quad(lambda t: (velocity_at(t, start) - chord) ** 2, last, first, epsrel=1e-9, limit=200)[0]  # noqa: B023
        values.append(area / (first - last))
    return float(np.mean(values))


@pytest.mark.parametrize("t", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("start", [-100.0, 5.0, 90.0])
def test_velocity_is_the_derivative_in_flow_matching_time(t, start):
    """dz/dt = (x - D) / sigma - D, by central differences."""
    h = 1e-5
    slope = (z_at(t + h, start) - z_at(t - h, start)) / (2 * h)
    sigma = t / (1 - t)
    point = Point.of(sigma, torch.tensor([[x_at(sigma, start)]]), torch.tensor([[denoised_at(sigma, start)]]))
    assert point.t == pytest.approx(t)
    assert point.z.item() == pytest.approx(z_at(t, start), rel=1e-5)
    assert point.velocity.item() == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_curvature_of_a_gaussian_is_the_closed_form(latents):
    path = Path()
    heun(GAUSSIAN.denoise, latents, karras_sigmas(128), observe=path)
    expected = closed_form((latents * HIGH).numpy())
    assert expected > 0.01
    assert curvature_fm(path) == pytest.approx(expected, rel=2e-3)


def test_straight_path_has_none(latents):
    """All the data in one point: D is constant and the path a line at constant speed."""
    point = GaussianMixture(torch.tensor([[0.7, -0.2]]).double(), torch.zeros(1).double(), torch.ones(1).double())
    path = Path()
    heun(point.denoise, latents, karras_sigmas(64), observe=path)
    assert curvature_fm(path) == pytest.approx(0, abs=1e-20)


def test_curvature_grows_with_the_spread_of_the_data(latents):
    """Two points apart bend the paths the more, the further apart they are."""
    values = []
    for half in (0.0, 0.5, 1.0):
        means = torch.tensor([[half, 0], [-half, 0]]).double()
        data = GaussianMixture(means, torch.full((2,), 0.1).double(), torch.full((2,), 0.5).double())
        path = Path()
        heun(data.denoise, latents, karras_sigmas(128), observe=path)
        values.append(curvature_fm(path))
    assert values[0] < values[1] < values[2]


def test_mean_over_samples_and_dimensions(latents):
    """Chunks weighted by their size give the value of the whole; a copied dimension changes nothing."""

    def curvature(x, denoise):
        path = Path()
        heun(denoise, x, karras_sigmas(32), observe=path)
        return curvature_fm(path)

    whole = curvature(latents, GAUSSIAN.denoise)
    parts = [curvature(latents[:2], GAUSSIAN.denoise), curvature(latents[2:], GAUSSIAN.denoise)]
    assert whole == pytest.approx((2 * parts[0] + 3 * parts[1]) / 5, rel=1e-9)

    def denoise_four(x, sigma, labels):
        return torch.cat([GAUSSIAN.denoise(part, sigma) for part in x.split(2, dim=1)], dim=1)

    assert curvature(latents.repeat(1, 2), denoise_four) == pytest.approx(whole, rel=1e-9)


class Everything:
    """Keeps all points, for the definition as it stands."""

    def __init__(self):
        self.points, self.path = [], Path()

    def __call__(self, sigma, x, denoised):
        self.points.append(Point.of(sigma, x, denoised))
        self.path(sigma, x, denoised)

    def curvature(self) -> np.ndarray:  # [n]
        t = np.array([p.t for p in self.points])
        z, v = (torch.stack([getattr(p, key) for p in self.points]).flatten(2).numpy() for key in ("z", "velocity"))
        chord = (z[-1] - z[0]) / (t[-1] - t[0])
        return np.trapezoid(np.square(v - chord).mean(2), t, axis=0) / (t[-1] - t[0])


@pytest.mark.parametrize("bend", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("steps", [2, 16, 128])
@pytest.mark.parametrize("rho", [1.0, 7.0])
def test_streaming_is_the_plain_formula(steps, rho, bend):
    """To 1e-9 relative, also where the path is so straight that squares of the velocity would cancel."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, 4, 4, generator=g, dtype=torch.float64)

    def denoise(x, sigma, labels):
        return 0.7 + bend * torch.sin(3 * x / (1 + sigma))

    both = Everything()
    heun(denoise, x, karras_sigmas(steps, rho), observe=both)
    np.testing.assert_allclose(both.path.curvature.numpy(), both.curvature(), rtol=1e-9)
    assert curvature_fm(both.path) == pytest.approx(both.curvature().mean(), rel=1e-9)


def test_memory_does_not_grow_with_the_steps(latents):
    """A path holds its first and its last point and two sums, however many points it saw."""

    def held(steps):
        path = Path()
        heun(GAUSSIAN.denoise, latents, karras_sigmas(steps), observe=path)
        points = (path.first, path.last)
        tensors = [path.area, path.energy] + [t for p in points for t in (p.z, p.velocity)]
        assert set(vars(path)) == {"first", "last", "area", "energy"}
        return sum(t.untyped_storage().nbytes() for t in tensors)

    assert held(8) == held(64)
