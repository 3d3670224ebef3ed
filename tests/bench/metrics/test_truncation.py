import math

import pytest
import torch

from bench.metrics.truncation import truncation_error
from models.analytic import GaussianMixture
from models.ode import SigmaODE
from models.samplers.euler import euler
from models.samplers.heun import heun
from models.schedules.karras import karras_sigmas

MIXTURE = GaussianMixture(
    torch.tensor([[-1.0, 0.0], [0.8, 0.6]]).double(),
    torch.tensor([0.3, 0.4]).double(),
    torch.tensor([0.4, 0.6]).double(),
)


def test_root_mean_square_by_hand():
    coarse, reference = (
        torch.tensor([[1.0, -1.0], [0.5, 0.0]]),
        torch.tensor([[0.0, -1.0], [0.5, 2.0]]),
    )
    assert truncation_error(coarse, reference) == pytest.approx(math.sqrt((1 + 4) / 4))
    assert truncation_error(coarse, coarse) == 0


def test_differences_whose_squares_float32_cannot_hold():
    images = torch.zeros(4, 1, 2, 2)
    assert truncation_error(images + 2**-80, images) == pytest.approx(2**-80, rel=1e-9)


@pytest.mark.parametrize(("sampler", "order"), [(euler, 1), (heun, 2)])
def test_falls_with_the_order_of_the_sampler(sampler, order):
    """Against a much denser reference from the same latents; sigma_min is where the steps stop to
    be finer.
    """
    latents = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))

    def images(integrate, steps):
        levels = karras_sigmas(steps + 1, sigma_min=0.01)[:-1]
        return integrate(SigmaODE(MIXTURE.denoise), latents, levels)

    reference = images(heun, 4096)
    coarse, fine = (truncation_error(images(sampler, steps), reference) for steps in (256, 512))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)
