"""The adaptive sampler against closed forms: no network, no training."""

import math

import numpy as np
import pytest
import torch

from models.analytic import GaussianMixture
from models.ode import SigmaODE
from models.samplers import dopri5 as module
from models.samplers.contract import CountNFE
from models.samplers.dopri5 import SolverError, dopri5
from models.samplers.heun import heun
from models.schedules.karras import karras_sigmas

MEAN, STD = torch.tensor([[0.3, -0.4]], dtype=torch.float64), 0.5
GAUSSIAN = GaussianMixture(MEAN, torch.tensor([STD]).double(), torch.ones(1).double())
MIXTURE = GaussianMixture(
    torch.tensor([[-1.0, 0.0], [0.8, 0.6], [0.2, -0.9]]).double(),
    torch.tensor([0.3, 0.1, 0.35]).double(),
    torch.tensor([0.3, 0.5, 0.2]).double(),
)
LEVELS = (0.002, 80.0)


@pytest.fixture
def latents(seeded):
    return torch.randn(6, 2, generator=seeded())


def closed_form(latents, sigma_min, sigma_max):
    """The path of a Gaussian keeps its deviation to the noisy standard deviation; then it is
    denoised once.
    """
    start = latents.double() * sigma_max
    x = MEAN + (start - MEAN) * math.sqrt((STD**2 + sigma_min**2) / (STD**2 + sigma_max**2))
    return MEAN + STD**2 / (STD**2 + sigma_min**2) * (x - MEAN)


def worst(images, expected) -> float:
    return (images - expected).abs().max().item()


@pytest.mark.parametrize("levels", [(0.002, 80.0), (0.1, 10.0)])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6, 1e-9])
def test_ends_at_the_closed_form_within_the_tolerance(tolerance, levels, latents):
    end = dopri5(SigmaODE(GAUSSIAN.denoise), latents, *levels, tolerance)
    assert end.dtype == torch.float64
    assert worst(end, closed_form(latents, *levels)) < 10 * tolerance


@pytest.mark.parametrize("denoise", [GAUSSIAN.denoise, MIXTURE.denoise])
def test_a_lower_tolerance_costs_more_and_errs_less(denoise, latents):
    """Order 5: a tolerance 1,000 times lower takes about 1000^(1/5) = 4 times as many steps."""
    reference, errors, evaluations = dopri5(SigmaODE(denoise), latents, *LEVELS, 1e-11), [], []
    for tolerance in (1e-2, 1e-5, 1e-8):
        count = CountNFE(denoise)
        errors.append(worst(dopri5(SigmaODE(count), latents, *LEVELS, tolerance), reference))
        evaluations.append(count.nfe)
    assert errors[0] > 30 * errors[1] > 900 * errors[2]
    assert evaluations[0] < evaluations[1] < evaluations[2] < 6 * evaluations[1]


def test_same_end_as_heun_with_many_steps(latents):
    """Both end with the denoising at sigma_min."""
    expected = heun(SigmaODE(MIXTURE.denoise), latents, karras_sigmas(1000))
    assert worst(dopri5(SigmaODE(MIXTURE.denoise), latents, *LEVELS, 1e-7), expected) < 1e-4
    cut_short = heun(SigmaODE(MIXTURE.denoise), latents, karras_sigmas(1000, sigma_min=0.3))
    assert worst(dopri5(SigmaODE(MIXTURE.denoise), latents, 0.3, 80, 1e-7), cut_short) < 1e-4
    assert worst(cut_short, expected) > 1e-2


def test_needs_fewer_evaluations_than_heun_for_a_small_error(latents):
    count = CountNFE(GAUSSIAN.denoise)
    expected = closed_form(latents, *LEVELS)
    error = worst(dopri5(SigmaODE(count), latents, *LEVELS, 1e-5), expected)
    assert (
        worst(
            heun(SigmaODE(GAUSSIAN.denoise), latents, karras_sigmas((count.nfe + 1) // 2)), expected
        )
        > 5 * error
    )


def test_every_evaluation_is_counted_and_the_last_is_at_sigma_min(latents):
    calls = []

    def denoise(x, sigma, labels):
        assert x.dtype == torch.float64
        assert x.shape == (6, 2, 1, 1)
        assert sigma.dim() == 0
        assert labels == "labels"
        calls.append(sigma.item())
        return GAUSSIAN.denoise(x, sigma).float()  # a network answers in float32

    count = CountNFE(denoise)
    dopri5(SigmaODE(count, "labels"), latents[..., None, None], *LEVELS, 1e-3)
    assert count.nfe == len(calls) > 10
    assert calls[0] == pytest.approx(80)
    assert calls[-1] == 0.002
    assert min(calls) >= 0.002 * (1 - 1e-12)


def test_float32_denoisers_serve_usual_tolerances(latents):
    def single(x, sigma, labels=None):
        return MIXTURE.denoise(x.float(), sigma).float()

    exact, rounded = CountNFE(MIXTURE.denoise), CountNFE(single)
    ends = [dopri5(SigmaODE(count), latents, *LEVELS, 1e-5) for count in (exact, rounded)]
    assert worst(*ends) < 1e-4
    assert rounded.nfe < 1.2 * exact.nfe


def test_leaves_latents_and_global_randomness_alone_and_repeats_itself(latents):
    before, state = latents.clone(), torch.get_rng_state()
    np_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not change
    ends = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        ends.append(dopri5(SigmaODE(MIXTURE.denoise), latents, *LEVELS, 1e-4))
    torch.set_rng_state(state)
    assert torch.equal(*ends)
    assert torch.equal(latents, before)
    assert (np.random.get_state()[1] == np_state).all()  # noqa: NPY002
    torch.manual_seed(3)
    state = torch.get_rng_state()
    dopri5(SigmaODE(MIXTURE.denoise), latents, *LEVELS, 1e-2)
    assert torch.equal(torch.get_rng_state(), state)


def test_batches_agree_within_the_tolerance(latents):
    """A sample's steps are those of its batch, so its image depends on the others, but no more than
    the tolerance.
    """
    whole = dopri5(SigmaODE(MIXTURE.denoise), latents, *LEVELS, 1e-6)
    parts = torch.cat(
        [dopri5(SigmaODE(MIXTURE.denoise), part, *LEVELS, 1e-6) for part in latents.split(2)]
    )
    assert 0 < worst(whole, parts) < 1e-4


def test_says_where_a_denoiser_fails(latents):
    def breaks(x, sigma, labels):
        return x / 2 if sigma > 1 else x * math.nan

    with pytest.raises(SolverError, match="not finite: check its weights"):
        dopri5(SigmaODE(breaks), latents, *LEVELS, 1e-3)


def test_says_so_where_no_step_is_small_enough(latents):
    """Near sigma = 1 the denoiser grows beyond all bounds."""

    def pole(x, sigma, labels):
        return -x / (sigma.log().clamp_min(0) ** 2 + 1e-300)

    with pytest.raises(SolverError, match="raise the tolerance"):
        dopri5(SigmaODE(pole), latents, *LEVELS, 1e-3)


def test_gives_up_on_a_denoiser_too_rough_for_the_tolerance(latents, monkeypatch):
    monkeypatch.setattr(module, "MOST_EVALUATIONS", 500)

    def rough(x, sigma, labels):
        return MIXTURE.denoise(x, sigma) + 1e-3 * torch.sin(1e7 * x)

    count = CountNFE(rough)
    with pytest.raises(SolverError, match="more than 500 evaluations.*raise the tolerance"):
        dopri5(SigmaODE(count), latents, *LEVELS, 1e-10)
    assert count.nfe < 700


@pytest.mark.parametrize(
    ("low", "high", "tolerance", "message"),
    [
        (0.0, 80.0, 1e-3, "last"),
        (80.0, 0.002, 1e-3, "last"),
        (0.002, 80.0, 0.0, "tolerance"),
        (0.002, 80.0, 1.0, "tolerance"),
        (0.002, 80.0, math.nan, "tolerance"),
    ],
)
def test_refuses_what_makes_no_sense(low, high, tolerance, message, latents):
    with pytest.raises(ValueError, match=message):
        dopri5(SigmaODE(GAUSSIAN.denoise), latents, low, high, tolerance)
