"""The loss of any objective, with EDM and with another row of Karras et al. 2022, Table 1."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from models.denoiser import Denoiser
from models.objectives.edm import EDM
from models.objectives.flow import Flow


@dataclass(frozen=True, kw_only=True)
class Users(EDM):
    """An objective in a module of the user's."""


class Velocity(nn.Module):
    """A raw network that keeps what it was given."""

    def forward(self, x, c_noise, labels, augment_labels):
        self.seen = x, c_noise
        return x.sin() + c_noise[:, None, None, None]


@pytest.fixture
def images(seeded):
    return torch.randn(3, 2, 4, 4, generator=seeded())


@pytest.fixture
def noise(seeded):
    return torch.randn(3, 2, 4, 4, generator=seeded(1))


def test_loss_is_a_sum_over_pixels_and_a_mean_over_the_batch(images, noise):
    sigma = torch.tensor([0.1, 1.0, 10.0])
    seen = {}

    def denoiser(x, s, labels, augment_labels):
        seen.update(x=x, sigma=s, labels=labels, augment_labels=augment_labels)
        return torch.zeros_like(x)

    loss = EDM().loss(denoiser, images, noise, sigma, "labels", "augmented")
    total = 0.0
    for i, s in enumerate(sigma.tolist()):
        torch.testing.assert_close(seen["x"][i], images[i] + s * noise[i])
        total += (s**2 + 0.25) / (0.5 * s) ** 2 * (images[i] ** 2).sum().item()
    assert loss.item() == pytest.approx(total / 3, rel=1e-5)
    assert torch.equal(seen["sigma"], sigma)
    assert (seen["labels"], seen["augment_labels"]) == ("labels", "augmented")


def test_flow_matching_is_a_row_of_the_table(images, noise):
    """The loss is |F - (n - y)|^2 at the point of the straight path, whatever F is."""
    t = torch.tensor([0.1, 0.5, 0.9])
    raw = Velocity()
    net = Denoiser(raw, Flow())
    loss = net.objective.loss(net, images, noise, t / (1 - t))
    share = t[:, None, None, None]
    point = (1 - share) * images + share * noise
    torch.testing.assert_close(raw.seen[0], point)
    torch.testing.assert_close(raw.seen[1], t)
    error = raw(point, t, None, None) - (noise - images)
    assert loss.item() == pytest.approx(error.square().sum().item() / 3, rel=1e-5)


def test_the_name_of_a_users_objective_is_its_module():
    assert EDM.name == "edm"
    assert Users.name == __name__
