import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.samplers.heun import heun_steps
from models.schedules.karras import karras_sigmas


def test_default_levels_by_hand():
    """Karras et al. 2022, Eq. 5, with exact decimal arithmetic behind it."""
    from decimal import Decimal, getcontext

    getcontext().prec = 40
    high, low = (Decimal(s) ** (Decimal(1) / 7) for s in ("80", "0.002"))
    expected = [float((high + Decimal(i) / 17 * (low - high)) ** 7) for i in range(18)]
    assert karras_sigmas(18).tolist() == pytest.approx([*expected, 0.0], rel=1e-13)


def test_rho_one_is_linear_and_a_large_rho_geometric():
    assert karras_sigmas(3, rho=1, sigma_min=1, sigma_max=5).tolist() == pytest.approx([5, 3, 1, 0])
    geometric = karras_sigmas(3, rho=1e4, sigma_min=0.01, sigma_max=1).tolist()
    assert geometric == pytest.approx([1, 0.1, 0.01, 0], rel=1e-2)


def test_large_rho_keeps_its_levels_in_float64():
    sigmas = karras_sigmas(18, rho=421)
    assert sigmas.dtype == torch.float64
    ratios = sigmas[1:18] / sigmas[:17]
    # Nearly geometric: the ratios drift slowly and smoothly. In float32 rounding makes them jump.
    assert ratios.diff().abs().max() < 2e-3
    assert (ratios.diff() < 0).all()
    assert sigmas[0].item() == pytest.approx(80, rel=1e-12)
    assert sigmas[17].item() == pytest.approx(0.002, rel=1e-12)


@given(
    steps=st.integers(2, 300),
    rho=st.floats(0.1, 1000),
    sigma_min=st.floats(1e-3, 1),
    ratio=st.floats(1.5, 1e5),
)
def test_levels_fall_from_end_to_end_and_then_to_zero(steps, rho, sigma_min, ratio):
    sigmas = karras_sigmas(steps, rho, sigma_min, sigma_min * ratio)
    assert sigmas.shape == (steps + 1,)
    assert sigmas.dtype == torch.float64
    assert (sigmas.diff() < 0).all()
    assert sigmas[0].item() == pytest.approx(sigma_min * ratio, rel=1e-9)
    assert sigmas[-2].item() == pytest.approx(sigma_min, rel=1e-9)
    assert sigmas[-1] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"steps": 1}, "2 or more"),
        ({"steps": 5, "rho": 0}, "above 0"),
        ({"steps": 5, "rho": -7}, "above 0"),
        ({"steps": 5, "rho": math.nan}, "above 0"),
        ({"steps": 5, "rho": math.inf}, "between 0.1 and 1000"),
        ({"steps": 5, "rho": 1e-4}, "between 0.1 and 1000"),
        ({"steps": 5, "sigma_min": 0}, "0 < sigma_min < sigma_max"),
        ({"steps": 5, "sigma_min": 2, "sigma_max": 1}, "0 < sigma_min < sigma_max"),
    ],
)
def test_refuses_what_gives_no_schedule(arguments, words):
    with pytest.raises(ValueError, match=words):
        karras_sigmas(**arguments)


@given(st.integers(2, 10_000))
def test_steps_and_evaluations_are_inverse(steps):
    assert heun_steps(2 * steps - 1) == steps


@pytest.mark.parametrize("nfe", [-1, 0, 1, 2, 4, 18])
def test_evaluations_that_heun_cannot_take(nfe):
    with pytest.raises(ValueError, match="3, 5, 7"):
        heun_steps(nfe)
