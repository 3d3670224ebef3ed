import math

import pytest
import torch
from torch import nn

from models import edm as networks
from models.denoiser import Denoiser
from models.objectives.edm import EDM


class Recorder(nn.Module):
    """A raw network that keeps what it was given and returns a fixed function of its input."""

    def forward(self, x, c_noise, labels, augment_labels):
        self.seen = x, c_noise, labels, augment_labels
        return x.sin() + 1


@pytest.fixture
def images(seeded):
    return torch.randn(3, 2, 4, 4, generator=seeded())


def test_formula_with_a_sigma_for_every_sample(images):
    raw = Recorder()
    sigma = torch.tensor([0.01, 0.5, 30.0])
    got = Denoiser(raw, EDM(sigma_data=0.5))(images, sigma)
    for i, s in enumerate(sigma.tolist()):
        c_in = 1 / math.sqrt(s**2 + 0.25)
        expected = 0.25 / (s**2 + 0.25) * images[i] + 0.5 * s * c_in * (
            (c_in * images[i]).sin() + 1
        )
        torch.testing.assert_close(got[i], expected)
        assert raw.seen[1][i].item() == pytest.approx(math.log(s) / 4, abs=1e-6)
        torch.testing.assert_close(raw.seen[0][i], c_in * images[i])


def test_scalar_sigma_is_every_samples_sigma(images):
    denoiser = Denoiser(Recorder(), EDM())
    each = denoiser(images, torch.full((3,), 0.7))
    for scalar in (0.7, torch.tensor(0.7), torch.tensor(0.7, dtype=torch.float64)):
        assert torch.equal(denoiser(images, scalar), each)


def test_tends_to_the_identity_as_sigma_falls(images):
    denoiser = Denoiser(Recorder(), EDM())
    gap = [(denoiser(images, s) - images).abs().max().item() for s in (1e-2, 1e-3, 1e-4)]
    assert gap[2] < 1e-3
    assert gap[0] / gap[1] == pytest.approx(10, rel=0.1)  # c_out falls like sigma


def test_network_computes_in_its_dtype_and_state_comes_back_in_float32(images):
    raw = Recorder()
    got = Denoiser(raw, EDM(), dtype=torch.bfloat16)(
        images.double(), torch.tensor(1.0, dtype=torch.float64)
    )
    assert raw.seen[0].dtype == torch.bfloat16
    assert raw.seen[1].dtype == torch.float32
    assert got.dtype == torch.float32


def test_absent_labels_are_zeros_whose_bias_still_enters(images, scramble):
    net = scramble(networks.small(4, 2, label_dim=3, model_channels=16)).eval()
    absent = net(images, 1.0)
    torch.testing.assert_close(absent, net(images, 1.0, torch.zeros(3, 3)))
    assert not torch.allclose(absent, net(images, 1.0, torch.eye(3)), atol=1e-3)
    net.model.map_label.bias.data.add_(1)
    assert not torch.allclose(absent, net(images, 1.0), atol=1e-3)


def test_unconditional_network_gets_no_labels(images):
    raw = Recorder()
    Denoiser(raw, EDM())(images, 1.0, labels=torch.eye(3), augment_labels=torch.ones(3, 9))
    assert raw.seen[2] is None
    assert raw.seen[3].shape == (3, 9)


def test_classes_become_one_hot_rows_for_conditional_networks_only():
    classes = torch.tensor([2, 0])
    conditional = Denoiser(Recorder(), EDM(), label_dim=3)
    assert conditional.one_hot(classes).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert conditional.one_hot(classes).dtype == torch.float32
    assert Denoiser(Recorder(), EDM()).one_hot(classes) is None


def test_a_network_that_returns_another_shape_is_refused():
    class Narrow(nn.Module):
        def forward(self, x, c_noise, labels, augment_labels):
            return x[:, :1]

    with pytest.raises(
        ValueError, match=r"Narrow must return the shape of its images, \[2, 3, 4, 4\], not"
    ):
        Denoiser(Narrow(), EDM())(torch.zeros(2, 3, 4, 4), 1.0)
