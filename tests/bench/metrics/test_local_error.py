"""Local truncation errors against the closed-form paths of Gaussians, scipy's integrator and the
leading order.
"""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from bench.metrics.local_error import EULER, HEUN, SUBSTEPS, interval_sigmas, local_errors, summary
from bench.metrics.paths import DRIFT, Paths, drift_sigmas
from models.analytic import GaussianMixture
from models.ode import SigmaODE
from models.samplers.contract import CountNFE
from models.samplers.heun import heun
from models.schedules.karras import karras_sigmas

STD = torch.tensor([[1.0, 0.2]]).double()
MIXTURE = GaussianMixture(
    torch.tensor([[0.5, 0.0], [-0.5, 0.2]]).double(),
    torch.tensor([0.2, 0.3]).double(),
    torch.tensor([0.4, 0.6]).double(),
)


def gaussian(x, sigma, labels=None):
    """Denoiser of N(0, diag(STD^2))."""
    return STD**2 / (STD**2 + sigma**2) * x


def on_the_path(sigma, start, sigma_max):
    """Its exact path: each axis shrinks by itself."""
    return start * ((STD**2 + sigma**2) / (STD**2 + sigma_max**2)).sqrt()


@pytest.fixture
def latents():
    return torch.randn(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("rho", [3.0, 7.0])
@pytest.mark.parametrize("steps", [8, 18])
def test_gaussian_is_the_closed_form(steps, rho, latents):
    """One step from the exact path, less the exact path: exact but for the fine path's own error,
    below 4 %.
    """
    sigmas = karras_sigmas(steps, rho)
    found = local_errors(gaussian, latents, sigmas)
    start = 80 * latents
    for i, (high, low) in enumerate(sigmas[:-1].unfold(0, 2, 1).tolist()):
        x, exact = on_the_path(high, start, 80), on_the_path(low, start, 80)
        slope = (x - gaussian(x, high)) / high
        euler_end = x + (low - high) * slope
        heun_end = x + (low - high) * (slope + (euler_end - gaussian(euler_end, low)) / low) / 2
        for name, end in ((EULER, euler_end), (HEUN, heun_end)):
            expected = (end - exact).square().mean(1).sqrt()
            torch.testing.assert_close(found[name][:, i].sqrt(), expected, rtol=0.04, atol=1e-5)


def test_mixture_is_that_of_a_fine_integrator(latents):
    sigmas = karras_sigmas(10)
    found = local_errors(MIXTURE.denoise, latents, sigmas)

    def slope(log_sigma, x):
        x = torch.from_numpy(x.reshape(-1, 2))
        return (x - MIXTURE.denoise(x, math.exp(log_sigma))).numpy().ravel()

    levels = sigmas[:-1].numpy()
    path = solve_ivp(
        slope,
        (math.log(80), math.log(0.002)),
        (80 * latents).numpy().ravel(),
        method="DOP853",
        rtol=1e-11,
        atol=1e-12,
        t_eval=np.log(levels).clip(math.log(0.002), math.log(80)),
    ).y.T.reshape(len(levels), 7, 2)
    euler_ends = [
        path[i]
        - (low - high) / high * (MIXTURE.denoise(torch.from_numpy(path[i]), high).numpy() - path[i])
        for i, (high, low) in enumerate(zip(levels[:-1], levels[1:], strict=True))
    ]
    expected = np.square(np.array(euler_ends) - path[1:]).mean(2).T  # [n, steps - 1]
    np.testing.assert_allclose(found[EULER].sqrt(), np.sqrt(expected), rtol=0.02, atol=1e-5)


def test_fine_path_is_fine_enough(latents):
    """Four times as many substeps change Heun's error, the smaller one, by little where it is
    largest.
    """
    few, many = (
        local_errors(MIXTURE.denoise, latents, karras_sigmas(12), substeps=s)[HEUN].mean(0).sqrt()
        for s in (SUBSTEPS, 4 * SUBSTEPS)
    )
    assert (few - many).abs().max() < 0.01 * many.max()


def test_leading_order_is_the_drift(latents):
    """h^2 / (2 sigma^2) times the drift of the denoiser, for small steps of Euler's."""
    sigmas = karras_sigmas(513)
    path = Paths()
    heun(SigmaODE(MIXTURE.denoise, observe=path), latents, sigmas)
    drift = path.per_sample()[DRIFT]  # between the same levels
    middle = torch.tensor(drift_sigmas(sigmas[:-1])).double()
    h = sigmas[:-2] - sigmas[1:-1]
    expected = (h / middle).square() / 2 * drift.mean(0).sqrt()
    found = local_errors(MIXTURE.denoise, latents, sigmas, substeps=4)[EULER].mean(0).sqrt()
    assert (found[100:450] / expected[100:450] - 1).abs().max() < 0.06


@pytest.mark.parametrize(("name", "order"), [(EULER, 2), (HEUN, 3)])
def test_local_errors_are_an_order_above_the_global_ones(name, order, latents):
    """Half the step, a quarter and an eighth of the error, from the same points."""
    sigmas = torch.tensor([1.0, 0.95, 0.0]).double()
    coarse = local_errors(MIXTURE.denoise, latents, sigmas)[name][:, 0]
    fine = local_errors(MIXTURE.denoise, latents, torch.tensor([1.0, 0.975, 0.0]).double())[name][
        :, 0
    ]
    assert (coarse.mean() / fine.mean()).log2().item() / 2 == pytest.approx(order, abs=0.15)


def test_straight_path_has_none(latents):
    found = local_errors(
        lambda x, sigma, labels: torch.full_like(x, 0.3), latents, karras_sigmas(6)
    )
    assert max(errors.max().item() for errors in found.values()) < 1e-20


def test_one_pass_per_sample_so_that_chunks_combine(latents):
    """The path is followed once, and no sample depends on those beside it."""
    sigmas, count = karras_sigmas(5), CountNFE(MIXTURE.denoise)
    whole = local_errors(count, latents, sigmas, substeps=8)
    assert count.nfe == 4 * (2 * 8 + 3)
    assert all(
        errors.shape == (7, 4) and errors.dtype == torch.float64 for errors in whole.values()
    )
    parts = [local_errors(MIXTURE.denoise, part, sigmas, substeps=8) for part in latents.split(3)]
    for name, errors in whole.items():
        torch.testing.assert_close(
            torch.cat([part[name] for part in parts]), errors, rtol=1e-9, atol=1e-25
        )


def test_images_and_labels_reach_the_denoiser(latents):
    seen = set()

    def denoise(x, sigma, labels):
        seen.add((x.shape, labels))
        return 0.5 * x

    found = local_errors(denoise, latents.reshape(7, 2, 1, 1).float(), karras_sigmas(3), "labels")
    assert seen == {((7, 2, 1, 1), "labels")}
    assert found[EULER].shape == (7, 2)


def test_errors_belong_to_the_upper_ends():
    sigmas = karras_sigmas(4)
    assert interval_sigmas(sigmas) == sigmas[:3].tolist()


def test_summary_is_the_root_mean_square():
    found = summary(
        {EULER: torch.tensor([[1.0, 9.0], [7.0, 9.0]]), HEUN: torch.zeros(2, 2)}, [80.0, 0.5]
    )
    assert found == {(EULER, 80.0): 2.0, (EULER, 0.5): 3.0, (HEUN, 80.0): 0.0, (HEUN, 0.5): 0.0}
