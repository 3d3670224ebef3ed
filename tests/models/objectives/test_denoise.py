"""What a network may return that was trained elsewhere: three predictions of one denoiser."""

import pytest
import torch

from models.denoiser import Denoiser
from models.objectives.denoise import Denoise
from models.objectives.flow import Flow
from models.objectives.noise import Noise

DEVIATION = 0.5  # of Gaussian data, whose denoiser has a closed form


def closed_form(x, sigma):
    """E[y | x] of y ~ N(0, DEVIATION^2)."""
    return x * (DEVIATION**2 / (DEVIATION**2 + sigma**2))


def denoise(x, level, labels, augment_labels):
    return closed_form(x, level[:, None, None, None])


def noise(x, level, labels, augment_labels):
    sigma = level[:, None, None, None]
    return (x - closed_form(x, sigma)) / sigma


def velocity(z, t, labels, augment_labels):
    """E[n - y | z] of z = (1 - t) y + t n: the regression of one normal variable on another."""
    t = t[:, None, None, None]
    return z * (t - (1 - t) * DEVIATION**2) / ((1 - t) ** 2 * DEVIATION**2 + t**2)


@pytest.mark.parametrize(
    ("function", "objective"), [(denoise, Denoise()), (noise, Noise()), (velocity, Flow())]
)
def test_all_of_them_are_the_denoiser(function, objective, seeded):
    x = torch.randn(5, 1, 2, 3, generator=seeded())
    sigma = torch.tensor([0.01, 0.3, 1.0, 4.0, 50.0])
    expected = closed_form(x, sigma[:, None, None, None])
    net = Denoiser(AsModule(function), objective)
    torch.testing.assert_close(net(x, sigma), expected, rtol=1e-4, atol=1e-4)


class AsModule(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def test_the_loss_of_a_noise_prediction_is_its_own_error(seeded):
    images, sample = torch.randn(2, 3, 1, 2, 2, generator=seeded())
    sigma = torch.tensor([0.1, 1.0, 10.0])
    net = Denoiser(AsModule(lambda x, level, a, b: x.sin()), Noise())
    x = images + sigma[:, None, None, None] * sample
    expected = (x.sin() - sample).square().sum() / 3
    # D - y = sigma (n - F) loses digits at low noise.
    loss = net.objective.loss(net, images, sample, sigma)
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-4)
