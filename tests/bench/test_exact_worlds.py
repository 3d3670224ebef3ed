"""Worlds where all is known: our metrics on the exact denoiser of independent pairs, against closed
forms.

One Gaussian, where every metric has a formula, and the eight Gaussians of the data set, by scipy's
eighth-order integrator on a posterior mean written anew here.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.special import softmax

from bench.data import load
from bench.data.eight_gaussians import MEANS
from bench.data.eight_gaussians import STD as MODE_STD
from bench.evaluation.measure import measure_samples
from bench.features import pixels
from bench.metrics.contract import FeatureSpace
from bench.metrics.paths import DRIFT, PER_PATH, Paths, drift_sigmas, summary
from bench.metrics.truncation import truncation_error
from bench.metrics.w2 import W2, w2
from models.analytic import GaussianMixture
from models.ode import SigmaODE
from models.samplers.contract import CountNFE
from models.samplers.dopri5 import dopri5
from models.samplers.euler import euler
from models.samplers.heun import heun
from models.schedules.karras import karras_sigmas

LOW, HIGH, DENSE = 0.002, 80.0, 256
MEAN, STD = torch.tensor([[0.3, -0.4]]).double(), 0.5
GAUSSIAN = GaussianMixture(MEAN, torch.tensor([STD]).double(), torch.ones(1).double())
EIGHT = GaussianMixture(
    MEANS, torch.full((8,), MODE_STD).double(), torch.full((8,), 1 / 8).double()
)


def normal(n, seed=0) -> torch.Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def observed(world: GaussianMixture, latents) -> dict[str, torch.Tensor]:
    """What the evaluation observes along the dense reference."""
    path = Paths()
    heun(SigmaODE(world.denoise, observe=path), latents, karras_sigmas(DENSE))
    return path.per_sample()


# One Gaussian. Along its path x = mean + c sqrt(s^2 + sigma^2), with c fixed by the start.


def directions(latents):
    return (HIGH * latents - MEAN) / math.sqrt(STD**2 + HIGH**2)


def curvature_per_direction() -> float:
    """z = (1 - t) mean + c q with q^2 = s^2 (1 - t)^2 + t^2, and q'^2 = 1 + s^2 - s^2 / q^2.

    So the curvature is |c|^2 / d times the variance of q' over t, and int dt / q^2 = arctan(sigma /
    s) / s.
    """
    t = np.array([LOW, HIGH]) / (1 + np.array([LOW, HIGH]))
    q = np.sqrt(STD**2 * (1 - t) ** 2 + t**2)
    arc = math.atan(HIGH / STD) - math.atan(LOW / STD)
    duration = t[1] - t[0]
    return 1 + STD**2 - STD * arc / duration - ((q[1] - q[0]) / duration) ** 2


def growth(sampler, steps) -> float:
    """What a sampler makes of deviations from the mean, a product over its steps.

    For dx / dsigma = sigma / (s^2 + sigma^2) (x - mean). The last step, to 0, is the denoiser: s^2
    / (s^2 + sigma^2).
    """
    rate, levels, product = (
        (lambda sigma: sigma / (STD**2 + sigma**2)),
        karras_sigmas(steps).tolist(),
        1.0,
    )
    for high, low in zip(levels[:-2], levels[1:-1], strict=True):
        once = 1 + (low - high) * rate(high)
        product *= (
            once if sampler is euler else 1 + (low - high) * (rate(high) + once * rate(low)) / 2
        )
    return product * STD**2 / (STD**2 + LOW**2)


def test_gaussian_curvature_of_each_path_and_of_all():
    latents = normal(4000)
    found = observed(GAUSSIAN, latents)["curvature_fm"]
    expected = curvature_per_direction() * directions(latents).square().mean(1)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=0)
    of_all = (
        curvature_per_direction() * (HIGH**2 + MEAN.square().mean().item()) / (STD**2 + HIGH**2)
    )
    # The mean of chi^2 / 2, five errors
    assert found.mean().item() == pytest.approx(of_all, rel=5 / math.sqrt(4000))


def test_gaussian_paths_are_straight_lines_at_a_changing_speed():
    """In EDM's coordinates. In those of flow matching the velocity is c q' - mean: it turns between
    its two ends.
    """
    latents = normal(50)
    found = observed(GAUSSIAN, latents)
    assert found["path_excess_sigma"].abs().max() < 1e-12
    assert found["turning_angle_sigma"].max() < 1e-9
    t = torch.tensor([LOW, HIGH]).double() / (1 + torch.tensor([LOW, HIGH]).double())
    slope = (t - STD**2 * (1 - t)) / (STD**2 * (1 - t) ** 2 + t**2).sqrt()  # q'
    first, last = (s * directions(latents) - MEAN for s in slope)
    cosine = (first * last).sum(1) / (first.norm(dim=1) * last.norm(dim=1))
    torch.testing.assert_close(found["turning_angle_fm"], cosine.acos(), rtol=1e-3, atol=1e-6)


def test_gaussian_drift_at_each_level():
    """|dD / d ln sigma| = |c| s^2 sigma^2 / (s^2 + sigma^2)^(3/2)."""
    latents, levels = normal(50), drift_sigmas(karras_sigmas(DENSE)[:-1])
    found = summary(observed(GAUSSIAN, latents), levels)
    size = directions(latents).square().mean().sqrt().item()
    expected = [size * STD**2 * sigma**2 / (STD**2 + sigma**2) ** 1.5 for sigma in levels]
    np.testing.assert_allclose([found[DRIFT, sigma] for sigma in levels], expected, rtol=5e-3)


@pytest.mark.parametrize("sampler", [euler, heun])
@pytest.mark.parametrize("steps", [2, 5, 18])
def test_gaussian_truncation_error(sampler, steps):
    latents = normal(100)
    coarse, dense = (
        integrate(SigmaODE(GAUSSIAN.denoise), latents, karras_sigmas(n))
        for integrate, n in ((sampler, steps), (heun, DENSE))
    )
    start = (HIGH * latents - MEAN).square().mean().sqrt().item()
    assert truncation_error(coarse, dense) == pytest.approx(
        abs(growth(sampler, steps) - growth(heun, DENSE)) * start, rel=1e-9
    )
    exact = STD / math.sqrt(STD**2 + HIGH**2) * start
    assert truncation_error(coarse, MEAN.expand(100, 2)) == pytest.approx(
        growth(sampler, steps) * start, rel=1e-9
    )
    assert growth(heun, DENSE) * start == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("steps", [2, 5, 18])
def test_gaussian_samples_are_as_far_from_the_data_as_the_samplers_error_says(steps):
    """Samples are N(mean - f mean, (f sigma_max)^2). Data made of the same noise are their optimal
    partners.

    A scaling and a shift are the gradient of a convex function, so no other pairing is nearer
    (Brenier 1991).
    """
    noise, f = normal(400), growth(heun, steps)
    samples = heun(SigmaODE(GAUSSIAN.denoise), noise, karras_sigmas(steps))
    data = MEAN + STD * noise
    expected = (MEAN - f * MEAN + f * HIGH * noise - data).square().sum(1).mean().sqrt().item()
    assert w2(samples, data) == pytest.approx(expected, rel=1e-9)
    of_all = math.sqrt((f * MEAN).square().sum().item() + 2 * (f * HIGH - STD) ** 2)
    fresh = MEAN + STD * normal(400, seed=1)
    # Of a standard deviation of 800 values
    floor, by_chance = w2(data, fresh), 5 / math.sqrt(2 * 2 * 400)
    assert w2(samples, fresh) == pytest.approx(of_all, abs=floor + by_chance * of_all)
    assert w2(samples, fresh) == pytest.approx(expected, abs=floor)  # the triangle inequality


# Eight Gaussians: the path and the integrals along it by scipy, to 1e-10, in ln sigma.


def posterior_mean(x, sigma) -> np.ndarray:
    """Of the eight, written from Bayes' rule; x `[..., 2]`, sigma `[..., 1]` or a number."""
    means, variance = MEANS.numpy(), MODE_STD**2 + np.asarray(sigma) ** 2
    distance = x[..., None, :] - means  # [..., 8, 2]
    weight = softmax(-np.square(distance).sum(-1) / (2 * variance), axis=-1)  # [..., 8]
    shrink = (MODE_STD**2 / variance)[..., None]
    return (weight[..., None] * (means + shrink * distance)).sum(-2)


@dataclass(frozen=True)
class ExactPath:
    """The path from one latent `[2]`."""

    latent: np.ndarray

    def velocities(self, sigma, x) -> tuple[np.ndarray, np.ndarray]:
        """dx / dsigma and dz / dt."""
        denoised = posterior_mean(x, sigma)
        v = (x - denoised) / sigma
        return v, v - denoised

    @cached_property
    def solution(self):
        """x, int |dz/dt|^2 dt, and the lengths in both coordinates, against -ln sigma."""

        def slope(minus_log_sigma, state):
            sigma = math.exp(-minus_log_sigma)
            v, w = self.velocities(sigma, state[:2])
            per_step = sigma / (1 + sigma) ** 2  # dt / d ln sigma
            return [
                *(-sigma * v),
                w @ w * per_step,
                np.linalg.norm(v) * sigma,
                np.linalg.norm(w) * per_step,
            ]

        start = [*(HIGH * self.latent), 0, 0, 0]
        where = (-math.log(HIGH), -math.log(LOW))
        return solve_ivp(
            slope, where, start, method="DOP853", rtol=1e-10, atol=1e-12, dense_output=True
        )

    def place(self, sigma) -> np.ndarray:
        return self.solution.sol(-np.log(sigma))[:2].T

    def turned(self, which) -> float:
        """The angle of the velocity, all its turns added up."""
        sigmas = np.geomspace(HIGH, LOW, 8000)
        v = self.velocities(sigmas[:, None], self.place(sigmas))[which]
        return np.abs(np.diff(np.unwrap(np.arctan2(v[:, 1], v[:, 0])))).sum()

    @cached_property
    def metrics(self) -> dict[str, float]:
        x0, x1 = HIGH * self.latent, self.solution.y[:2, -1]
        _, _, energy, length_x, length_z = self.solution.y[:, -1]
        chord = x0 / (1 + HIGH) - x1 / (1 + LOW)
        duration = HIGH / (1 + HIGH) - LOW / (1 + LOW)
        return {
            "curvature_fm": (energy / duration - chord @ chord / duration**2) / 2,
            "path_excess_fm": length_z / np.linalg.norm(chord) - 1,
            "path_excess_sigma": length_x / np.linalg.norm(x0 - x1) - 1,
            "turning_angle_fm": self.turned(1),
            "turning_angle_sigma": self.turned(0),
        }

    def drift(self, sigma) -> np.ndarray:
        """dD / d ln sigma by central differences."""
        h = 1e-4
        ends = [
            posterior_mean(self.place(s), s) for s in (sigma * math.exp(h), sigma * math.exp(-h))
        ]
        return (ends[0] - ends[1]) / (2 * h)


@pytest.fixture(scope="module")
def latents() -> torch.Tensor:
    return normal(6)


@pytest.fixture(scope="module")
def paths(latents) -> list[ExactPath]:
    return [ExactPath(latent) for latent in latents.numpy()]


def test_eight_gaussians_shape_of_each_path(latents, paths):
    found = observed(EIGHT, latents)
    for metric in PER_PATH:
        expected = [path.metrics[metric] for path in paths]
        np.testing.assert_allclose(found[metric], expected, rtol=0.01, atol=1e-5, err_msg=metric)
    assert min(path.metrics["curvature_fm"] for path in paths) > 1e-3


def test_eight_gaussians_drift_at_each_level(latents, paths):
    levels = drift_sigmas(karras_sigmas(DENSE)[:-1])
    found = summary(observed(EIGHT, latents), levels)
    some = levels[::15]
    expected = [
        math.sqrt(np.mean([np.square(path.drift(sigma)) for path in paths])) for sigma in some
    ]
    np.testing.assert_allclose(
        [found[DRIFT, sigma] for sigma in some], expected, rtol=0.02, atol=1e-5
    )


def test_eight_gaussians_truncation_error(latents, paths):
    """The dense reference differs from the exact end by less than 1 % of the error."""
    ends = np.stack([posterior_mean(path.solution.y[:2, -1], LOW) for path in paths])
    dense = heun(SigmaODE(EIGHT.denoise), latents, karras_sigmas(DENSE))
    for steps in (3, 6, 12):
        coarse = heun(SigmaODE(EIGHT.denoise), latents, karras_sigmas(steps))
        exact = math.sqrt(np.square(coarse.numpy() - ends).mean())
        assert truncation_error(coarse, dense) == pytest.approx(exact, rel=0.01)
    np.testing.assert_allclose(
        dopri5(SigmaODE(EIGHT.denoise), latents, LOW, HIGH, 1e-8), ends, atol=1e-6
    )


def test_eight_gaussians_samples_of_a_fine_sampler_are_at_the_floor():
    """And those of few evaluations above it, less so the more there are."""
    data, noise, found = load("eight-gaussians"), normal(400, seed=2).reshape(400, 2, 1, 1), {}
    space = FeatureSpace(pixels.load(data, None, "cpu"), data)
    for steps in (3, 6, 64):
        count = CountNFE(EIGHT.denoise)
        samples = heun(SigmaODE(count), noise, karras_sigmas(steps)).float()
        assert count.nfe == 2 * steps - 1
        (measured,) = measure_samples(space, [W2], 400, iter(samples.split(150)))
        found[steps] = measured.compute()
    floor = found[64]["w2_floor", None]
    for split in ("train", "test"):
        assert found[64]["w2", split] == pytest.approx(floor, rel=0.5)
        assert found[3]["w2", split] > 2 * found[6]["w2", split] > 2 * floor
