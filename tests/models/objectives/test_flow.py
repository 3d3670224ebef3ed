"""Flow matching as a row of Karras et al. 2022, Table 1, against the loss of its own papers."""

import math

import pytest
import torch
from scipy import stats
from torch import nn

from models.denoiser import Denoiser
from models.objectives.edm import EDM
from models.objectives.flow import Flow

TIMES = torch.tensor([1e-3, 0.1, 0.5, 0.9, 0.999], dtype=torch.float64)


class Raw(nn.Module):
    """A raw network, smooth in state and time, that keeps what it was given."""

    def forward(self, x, c_noise, labels, augment_labels):
        self.seen = x, c_noise
        return x.sin() + c_noise[:, None, None, None]


@pytest.fixture
def images(seeded):
    return torch.randn(5, 2, 3, 3, generator=seeded(), dtype=torch.float64)


@pytest.fixture
def noise(seeded):
    return torch.randn(5, 2, 3, 3, generator=seeded(1), dtype=torch.float64)


def in_double(objective, raw):
    """The denoiser of a raw network in float64, written from Karras et al. 2022, Eq. 7."""

    def denoise(x, sigma, labels=None, augment_labels=None):
        skip, out, into, noise = objective.coefficients(sigma)
        shaped = [one[:, None, None, None] for one in (skip, out, into)]
        return shaped[0] * x + shaped[1] * raw(shaped[2] * x, noise, None, None)

    return denoise


@pytest.mark.parametrize("t", TIMES)
def test_the_weighted_error_of_d_is_that_of_the_velocity(images, noise, t):
    """weight |D - y|^2 = |F - (n - y)|^2, whatever F is."""
    raw = Raw()
    times = t.expand(5)
    sigma = times / (1 - times)
    loss = Flow().loss(in_double(Flow(), raw), images, noise, sigma)
    state = (1 - t) * images + t * noise
    torch.testing.assert_close(raw.seen[0], state, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(raw.seen[1], times, rtol=1e-12, atol=0)
    error = raw(state, times, None, None) - (noise - images)
    assert loss.item() == pytest.approx(error.square().sum().item() / 5, rel=1e-11)
    # Pixel by pixel too, to 1e-12 of the velocity's size.
    level = sigma[:, None, None, None]
    denoised = in_double(Flow(), raw)(images + level * noise, sigma)
    weighted = Flow().weight(level).sqrt() * (images - denoised)
    torch.testing.assert_close(weighted, error, rtol=0, atol=1e-12 / t.item())


def test_path_noise_moves_the_state_and_not_the_target(images, noise, seeded):
    extra = torch.randn(5, 2, 3, 3, generator=seeded(2), dtype=torch.float64)
    raw = Raw()
    objective = Flow(path_sigma=0.1)
    sigma = TIMES / (1 - TIMES)
    loss = objective.loss(in_double(objective, raw), images, noise, sigma, path_noise=extra)
    t = TIMES[:, None, None, None]
    state = (1 - t) * images + t * noise + 0.1 * extra
    error = raw(state, TIMES, None, None) - (noise - images)
    assert loss.item() == pytest.approx(error.square().sum().item() / 5, rel=1e-9)


def test_path_noise_also_moves_a_noised_end(images, noise, seeded):
    extra = torch.randn(5, 2, 3, 3, generator=seeded(2), dtype=torch.float64)
    raw = Raw()
    objective = Flow(path_sigma=0.1, end_sigma=0.2)
    sigma = TIMES / (1 - TIMES)
    loss = objective.loss(in_double(objective, raw), images, noise, sigma, path_noise=extra)
    t = TIMES[:, None, None, None]
    end = images + 0.2 * noise
    error = raw((1 - t) * end + t * noise + 0.1 * extra, TIMES, None, None) - (noise - end)
    assert loss.item() == pytest.approx(error.square().sum().item() / 5, rel=1e-9)


def test_the_end_at_an_image_is_noised_with_its_own_noise(images, noise):
    """Lipman et al. 2023: mean s y, deviation 1 - 0.9 s, target y - 0.9 n, with s = 1 - t."""
    raw = Raw()
    objective = Flow(end_sigma=0.1)
    sigma = TIMES / (1 - TIMES)
    loss = objective.loss(in_double(objective, raw), images, noise, sigma)
    s = 1 - TIMES[:, None, None, None]
    state = s * images + (1 - 0.9 * s) * noise
    # Their velocity runs from noise to image, ours from image to noise.
    target = -(images - 0.9 * noise)
    error = raw(state, TIMES, None, None) - target
    assert loss.item() == pytest.approx(error.square().sum().item() / 5, rel=1e-9)


def test_t_is_uniform(seeded):
    sigma = Flow().draw_sigma(20_000, seeded())
    assert sigma.dtype == torch.float32
    t = (sigma / (1 + sigma)).double().numpy()
    assert stats.kstest(t, "uniform").pvalue > 0.01


def test_logit_normal_is_edms_distribution(seeded):
    drawn = Flow(t="logit-normal", loc=-1.2, scale=1.2).draw_sigma(100, seeded())
    torch.testing.assert_close(drawn, EDM().draw_sigma(100, seeded()))
    t = (drawn / (1 + drawn)).double()
    assert stats.kstest(t.logit().numpy(), stats.norm(-1.2, 1.2).cdf).pvalue > 0.01


def test_no_draw_is_infinite_or_zero():
    """The ends of [0, 1) have no finite sigma above 0."""

    class Ends:
        device = torch.device("cpu")

    flow = Flow()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", lambda n, **options: torch.tensor([0.0, 1.0 - 2**-24]))
        sigma = flow.draw_sigma(2, Ends())
    assert sigma.isfinite().all()
    assert (sigma > 0).all()


@pytest.mark.parametrize("objective", [Flow(), EDM(), EDM(sigma_data=0.8)])
def test_both_entrances_of_a_denoiser_agree(objective, seeded):
    """D at (x, sigma) is D at (z, t) of the straight path."""
    net = Denoiser(Raw(), objective)
    z = torch.randn(5, 2, 3, 3, generator=seeded())
    sigma = TIMES / (1 - TIMES)
    x = (1 + sigma[:, None, None, None]) * z
    torch.testing.assert_close(net.at_time(z, TIMES), net(x, sigma), rtol=2e-4, atol=2e-4)


def test_pure_noise_has_a_velocity():
    z = torch.ones(2, 1, 1, 1)
    net = Denoiser(Raw(), Flow())
    velocity = z - net.at_time(z, 1.0)
    torch.testing.assert_close(velocity, torch.full_like(z, math.sin(1) + 1))


@pytest.mark.parametrize(
    "options",
    [
        {"t": "beta"},
        {"t": "logit-normal", "scale": 0.0},
        {"loc": 0.5},
        {"path_sigma": -0.1},
        {"end_sigma": 1.0},
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Flow(**options)
