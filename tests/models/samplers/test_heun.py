"""Samplers against closed forms: no network, no training."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from models.analytic import GaussianMixture
from models.samplers.contract import CountNFE
from models.samplers.euler import euler
from models.samplers.heun import heun
from models.schedule import karras_sigmas

ORDERS = [(euler, 1), (heun, 2)]
MEAN, STD = torch.tensor([[0.3, -0.4]], dtype=torch.float64), 0.5
GAUSSIAN = GaussianMixture(MEAN, torch.tensor([STD]).double(), torch.ones(1).double())
MIXTURE = GaussianMixture(
    torch.tensor([[-1.0, 0.0], [0.8, 0.6], [0.2, -0.9]]).double(),
    torch.tensor([0.3, 0.4, 0.35]).double(),
    torch.tensor([0.3, 0.5, 0.2]).double(),
)


@pytest.fixture
def latents(seeded):
    return torch.randn(6, 2, generator=seeded())


def closed_form(latents, sigma, sigma_max):
    """Path of a Gaussian: its deviation from the mean keeps to the noisy standard deviation."""
    start = latents.double() * sigma_max
    return MEAN + (start - MEAN) * math.sqrt((STD**2 + sigma**2) / (STD**2 + sigma_max**2))


def measured_order(errors: dict[int, float]) -> float:
    (n, coarse), (m, fine) = sorted(errors.items())
    return math.log(coarse / fine) / math.log(m / n)


@pytest.mark.parametrize(("sampler", "order"), ORDERS)
def test_order_on_a_gaussian(sampler, order, latents):
    """Down to sigma_min: the last step, to 0, does not get finer with the steps."""
    expected = closed_form(latents, 0.01, sigma_max=20)
    errors = {}
    for steps in (129, 257):  # intervals double
        end = sampler(
            GAUSSIAN.denoise, latents, karras_sigmas(steps, sigma_min=0.01, sigma_max=20)[:-1]
        )
        errors[steps - 1] = (end - expected).abs().max().item()
    assert errors[256] < (1e-3 if order == 2 else 0.1)
    assert measured_order(errors) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("sampler", "order"), ORDERS)
def test_order_on_a_mixture(sampler, order, latents):
    """Reference: scipy's eighth-order Runge-Kutta on the same equation in ln sigma."""

    def slope(log_sigma, x):
        x = torch.from_numpy(x.reshape(-1, 2))
        return (x - MIXTURE.denoise(x, math.exp(log_sigma))).numpy().ravel()  # dx/dln sigma = x - D

    start = (20 * latents.double()).numpy().ravel()
    solution = solve_ivp(
        slope, (math.log(20), math.log(0.01)), start, method="DOP853", rtol=1e-10, atol=1e-12
    )
    errors = {}
    for steps in (257, 513):
        end = sampler(
            MIXTURE.denoise, latents, karras_sigmas(steps, sigma_min=0.01, sigma_max=20)[:-1]
        )
        errors[steps - 1] = np.abs(end.numpy().ravel() - solution.y[:, -1]).max()
    assert errors[512] < (1e-3 if order == 2 else 0.1)
    assert measured_order(errors) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize(("sampler", "order"), ORDERS)
def test_whole_schedule_ends_at_the_closed_form(sampler, order, latents):
    """From sigma_min on the denoiser is all that is left: the error of that step is of the order
    sigma_min^2.
    """
    end = sampler(GAUSSIAN.denoise, latents, karras_sigmas(400))
    torch.testing.assert_close(
        end, closed_form(latents, 0, 80), atol=1e-3 if order == 2 else 5e-2, rtol=0
    )


@pytest.mark.parametrize(("sampler", "per_step", "less"), [(euler, 1, 0), (heun, 2, 1)])
@pytest.mark.parametrize("steps", [2, 3, 18])
def test_evaluations_are_counted(sampler, per_step, less, steps, latents):
    denoise = CountNFE(GAUSSIAN.denoise)
    sampler(denoise, latents, karras_sigmas(steps))
    assert denoise.nfe == per_step * steps - less


@pytest.mark.parametrize("sampler", [euler, heun])
def test_a_point_is_reached_in_any_number_of_steps(sampler, latents):
    """A constant denoiser makes a straight path, which no step size can miss."""
    point = torch.tensor([0.7, -0.1], dtype=torch.float64)
    for steps in (2, 7):
        end = sampler(lambda x, sigma, labels: point.expand_as(x), latents, karras_sigmas(steps))
        torch.testing.assert_close(end, point.expand(6, 2), atol=1e-12, rtol=0)


@pytest.mark.parametrize("sampler", [euler, heun])
def test_state_is_float64_and_denoiser_and_observer_see_each_level(sampler, latents):
    sigmas, calls, seen = karras_sigmas(5), [], []

    def denoise(x, sigma, labels):
        calls.append((x, sigma, labels))
        return GAUSSIAN.denoise(x, sigma).float()  # a network answers in float32

    end = sampler(denoise, latents, sigmas, "labels", observe=lambda *point: seen.append(point))
    assert end.dtype == torch.float64
    assert {x.dtype for x, _, _ in calls} == {torch.float64}
    assert {labels for _, _, labels in calls} == {"labels"}
    assert calls[0][1].dim() == 0
    assert [sigma for sigma, _, _ in seen] == sigmas[:-1].tolist()
    assert torch.equal(seen[0][1], latents.double() * sigmas[0])
    for sigma, x, denoised in seen:
        assert torch.equal(denoised, GAUSSIAN.denoise(x, sigma).float().double())


@pytest.mark.parametrize("sampler", [euler, heun])
def test_latents_are_left_alone(sampler, latents):
    before = latents.clone()
    sampler(GAUSSIAN.denoise, latents, karras_sigmas(3))
    assert torch.equal(latents, before)
