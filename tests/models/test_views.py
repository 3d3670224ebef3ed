import math

import pytest
import torch

from models.views import ddpm_sigmas, from_vp, ncsnv2_sigmas, sigma_of, to_vp


@pytest.mark.parametrize(
    ("step", "signal"), [(50, 0.985), (100, 0.947), (300, 0.630), (500, 0.280), (700, 0.083)]
)
def test_ddpm_by_its_table(step, signal):
    """sqrt(abar) of DDPM's linear schedule, to the three digits known."""
    assert 1 / math.sqrt(1 + sigma_of("ddpm", step) ** 2) == pytest.approx(signal, abs=6e-4)


def test_ddpm_by_the_continuous_schedule():
    """abar = exp(-integral of beta), beta linear (Song et al. 2021, Eq. 33), up to the size of a
    step.
    """
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    integral = 0.1 * t + (20 - 0.1) * t**2 / 2
    torch.testing.assert_close(
        ddpm_sigmas().log(), (integral.exp() - 1).sqrt().log(), atol=0.1, rtol=0
    )


def test_ncsnv2_is_geometric_and_doubled():
    sigmas = ncsnv2_sigmas()
    assert sigmas[0].item() == pytest.approx(0.02)
    assert sigmas[-1].item() == pytest.approx(100)
    # DPM-OT's targets for CIFAR-10
    assert sigma_of("ncsnv2", 10) / 2 == pytest.approx(0.01394, abs=1e-5)
    ratio = sigmas[1:] / sigmas[:-1]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))


def test_the_vp_view_of_noised_data_has_the_schedules_moments():
    """sqrt(abar) y + sqrt(1 - abar) n, and back."""
    sigma = sigma_of("ddpm", 300)
    alpha_bar = 1 / (1 + sigma**2)
    y, n = torch.linspace(-1, 1, 7).double(), torch.linspace(3, -2, 7).double()
    x = y + sigma * n
    torch.testing.assert_close(to_vp(x, sigma), alpha_bar**0.5 * y + (1 - alpha_bar) ** 0.5 * n)
    torch.testing.assert_close(from_vp(to_vp(x, sigma), sigma), x)


@pytest.mark.parametrize(
    ("view", "step", "way"), [("ddpm", 0, "1 to 1000"), ("ncsnv2", 233, "1 to 232")]
)
def test_steps_end(view, step, way):
    with pytest.raises(ValueError, match=way):
        sigma_of(view, step)


def test_unknown_view():
    with pytest.raises(ValueError, match="ddpm, ncsnv2"):
        sigma_of("vp", 1)
