"""Samplers against closed forms: no network, no training."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from models.analytic import GaussianMixture
from models.ode import CountNFE, FlowODE, SigmaODE
from models.samplers.dpmpp_2m import dpmpp_2m
from models.samplers.euler import euler
from models.samplers.heun import heun
from models.samplers.midpoint import midpoint
from models.schedules.flow import Flow
from models.schedules.karras import karras_sigmas

ORDERS = [(euler, 1), (heun, 2), (midpoint, 2), (dpmpp_2m, 2)]
SAMPLERS = [sampler for sampler, _ in ORDERS]
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
        levels = karras_sigmas(steps, sigma_min=0.01, sigma_max=20)[:-1]
        end = sampler(SigmaODE(GAUSSIAN.denoise), latents, levels)
        errors[steps - 1] = (end - expected).abs().max().item()
    assert errors[256] < (1e-3 if order == 2 else 0.1)
    # The midpoint method gains an order on this linear equation.
    assert measured_order(errors) == pytest.approx(3 if sampler is midpoint else order, abs=0.12)


def exact_path(latents, first, last):
    """Scipy's eighth-order Runge-Kutta on d state / d ln sigma = x - D, from x at ``first``."""

    def slope(log_sigma, x):
        x = torch.from_numpy(x.reshape(-1, 2))
        return (x - MIXTURE.denoise(x, math.exp(log_sigma))).numpy().ravel()

    start = (first * latents.double()).numpy().ravel()
    span = (math.log(first), math.log(last))
    solution = solve_ivp(slope, span, start, method="DOP853", rtol=1e-10, atol=1e-12)
    return torch.from_numpy(solution.y[:, -1].reshape(-1, 2))


@pytest.mark.parametrize(("sampler", "order"), ORDERS)
def test_order_on_a_mixture(sampler, order, latents):
    expected = exact_path(latents, 20, 0.01)
    errors = {}
    for steps in (257, 513):
        levels = karras_sigmas(steps, sigma_min=0.01, sigma_max=20)[:-1]
        end = sampler(SigmaODE(MIXTURE.denoise), latents, levels)
        errors[steps - 1] = (end - expected).abs().max().item()
    assert errors[512] < (1e-3 if order == 2 else 0.1)
    assert measured_order(errors) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize(("sampler", "order"), ORDERS)
def test_order_on_a_mixture_in_flow_coordinates(sampler, order, shift, latents):
    """From t = 20 / 21, where z is x / 21, down to the time of sigma 0.01."""
    first, last = 20 / 21, 0.01 / 1.01
    expected = exact_path(latents, 20, 0.01) / 1.01
    errors = {}
    for steps in (256, 512):
        # Times of the whole schedule, brought to the interval.
        times = last + (first - last) * Flow(shift=shift).times(steps, 0.002, math.inf)
        end = sampler(FlowODE(MIXTURE.denoise), latents, times)
        errors[steps] = (end - expected).abs().max().item()
    assert errors[512] < (2e-3 if order == 2 else 0.1)
    assert measured_order(errors) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize(("sampler", "order"), ORDERS)
def test_whole_schedule_ends_at_the_closed_form(sampler, order, latents):
    """From sigma_min on the denoiser is all that is left: the error of that step is of the order
    sigma_min^2.
    """
    end = sampler(SigmaODE(GAUSSIAN.denoise), latents, karras_sigmas(400))
    torch.testing.assert_close(
        end, closed_form(latents, 0, 80), atol=1e-3 if order == 2 else 5e-2, rtol=0
    )


@pytest.mark.parametrize(("sampler", "order"), ORDERS)
def test_flow_matching_begins_at_pure_noise(sampler, order, latents):
    """The limit of the closed form as sigma_max grows: latents are z at t = 1."""
    end = sampler(FlowODE(GAUSSIAN.denoise, highest=1 - 1e-9), latents, Flow().times(400, 0, 1e300))
    expected = MEAN + latents.double() * STD
    torch.testing.assert_close(end, expected, atol=2e-3 if order == 2 else 2e-2, rtol=0)


def test_a_step_of_euler_is_the_same_in_both_coordinates(latents):
    """With D held constant, x and z move on one line."""
    levels = karras_sigmas(6)
    in_sigma = euler(SigmaODE(MIXTURE.denoise), latents, levels)
    in_flow = euler(FlowODE(MIXTURE.denoise), latents, levels / (1 + levels))
    torch.testing.assert_close(in_flow, in_sigma, rtol=1e-9, atol=1e-9)


def test_dpm_solver_is_its_published_form(latents):
    """Lu et al. 2022 (arXiv 2211.01095), Alg. 2, with alpha = 1 - t and sigma = t as in flow
    matching, in numpy.
    """
    times = Flow(shift=2.0).times(6, 0, math.inf) * 0.98

    def denoised(z, t):
        x = torch.from_numpy(z) / (1 - t)
        # In float64 from the start, or the noise level would be rounded.
        sigma = torch.tensor(t / (1 - t), dtype=torch.float64)
        return MIXTURE.denoise(x, sigma).numpy()

    t = times.tolist()
    level = [math.log((1 - one) / one) for one in t[:-1]]
    z = latents.double().numpy() * t[0]
    before = denoised(z, t[0])
    h_before = level[1] - level[0]
    z = t[1] / t[0] * z - (1 - t[1]) * math.expm1(-h_before) * before
    for i in range(1, 5):
        now = denoised(z, t[i])
        h = level[i + 1] - level[i]
        r = h_before / h
        mixed = (1 + 1 / (2 * r)) * now - 1 / (2 * r) * before
        z = t[i + 1] / t[i] * z - (1 - t[i + 1]) * math.expm1(-h) * mixed
        before, h_before = now, h
    expected = denoised(z, t[5])
    end = dpmpp_2m(FlowODE(MIXTURE.denoise), latents, times)
    np.testing.assert_allclose(end.numpy(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("sampler", "per_step", "less"),
    [(euler, 1, 0), (heun, 2, 1), (midpoint, 2, 0), (dpmpp_2m, 1, 0)],
)
@pytest.mark.parametrize("steps", [2, 3, 18])
def test_evaluations_are_counted(sampler, per_step, less, steps, latents):
    schedules = {
        SigmaODE: karras_sigmas(steps),
        FlowODE: Flow().times(steps, 0.002, 80.0),
    }
    for ode, times in schedules.items():
        denoise = CountNFE(GAUSSIAN.denoise)
        sampler(ode(denoise), latents, times)
        assert denoise.nfe == per_step * steps - less
        assert sampler.steps(denoise.nfe) == steps


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_point_is_reached_in_any_number_of_steps(sampler, latents):
    """A constant denoiser makes a straight path, which no step size can miss."""
    point = torch.tensor([0.7, -0.1], dtype=torch.float64)

    def denoise(x, sigma, labels):
        return point.expand_as(x)

    for steps in (2, 7):
        end = sampler(SigmaODE(denoise), latents, karras_sigmas(steps))
        torch.testing.assert_close(end, point.expand(6, 2), atol=1e-12, rtol=0)
        end = sampler(FlowODE(denoise, highest=0.99), latents, Flow().times(steps, 0, math.inf))
        torch.testing.assert_close(end, point.expand(6, 2), atol=1e-12, rtol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_state_is_float64_and_denoiser_and_observer_see_each_level(sampler, latents):
    sigmas, calls, seen = karras_sigmas(5), [], []

    def denoise(x, sigma, labels):
        calls.append((x, sigma, labels))
        return GAUSSIAN.denoise(x, sigma).float()  # a network answers in float32

    end = sampler(SigmaODE(denoise, "labels", observe=seen.append), latents, sigmas)
    assert end.dtype == torch.float64
    assert {x.dtype for x, _, _ in calls} == {torch.float64}
    assert {labels for _, _, labels in calls} == {"labels"}
    assert calls[0][1].dim() == 0
    assert [point.sigma for point in seen] == sigmas[:-1].tolist()
    assert torch.equal(seen[0].x, latents.double() * sigmas[0])
    for point in seen:
        assert torch.equal(point.denoised, GAUSSIAN.denoise(point.x, point.sigma).float().double())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_observer_sees_one_path_in_both_coordinates(sampler, latents):
    """States, times and velocities of a point agree with their definitions."""
    seen = []
    times = Flow().times(4, 0, math.inf)
    ode = FlowODE(GAUSSIAN.denoise, observe=seen.append, highest=0.99)
    sampler(ode, latents, times)
    assert [point.t for point in seen] == times[:-1].tolist()
    assert math.isinf(seen[0].sigma)
    assert torch.equal(seen[0].z, latents.double())
    for point in seen[1:]:
        sigma = point.t / (1 - point.t)
        assert point.sigma == pytest.approx(sigma)
        torch.testing.assert_close(point.x, point.z * (1 + sigma))
        velocity = (point.x - point.denoised) / sigma - point.denoised
        torch.testing.assert_close(point.velocity, velocity)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_latents_are_left_alone(sampler, latents):
    before = latents.clone()
    sampler(SigmaODE(GAUSSIAN.denoise), latents, karras_sigmas(3))
    assert torch.equal(latents, before)


@pytest.mark.parametrize("nfe", [0, 2, 3, 5])
def test_midpoint_takes_even_numbers_of_evaluations(nfe):
    with pytest.raises(ValueError, match="4, 6, 8"):
        midpoint.steps(nfe)
