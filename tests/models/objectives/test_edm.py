import math

import pytest
import torch
from torch import nn

from models.networks import archs as networks
from models.objectives.edm import EDMDenoiser, draw_sigma, edm_loss, loss_weight


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
    got = EDMDenoiser(raw, sigma_data=0.5)(images, sigma)
    for i, s in enumerate(sigma.tolist()):
        c_in = 1 / math.sqrt(s**2 + 0.25)
        expected = 0.25 / (s**2 + 0.25) * images[i] + 0.5 * s * c_in * (
            (c_in * images[i]).sin() + 1
        )
        torch.testing.assert_close(got[i], expected)
        assert raw.seen[1][i].item() == pytest.approx(math.log(s) / 4, abs=1e-6)
        torch.testing.assert_close(raw.seen[0][i], c_in * images[i])


def test_scalar_sigma_is_every_samples_sigma(images):
    denoiser = EDMDenoiser(Recorder())
    each = denoiser(images, torch.full((3,), 0.7))
    for scalar in (0.7, torch.tensor(0.7), torch.tensor(0.7, dtype=torch.float64)):
        assert torch.equal(denoiser(images, scalar), each)


def test_tends_to_the_identity_as_sigma_falls(images):
    denoiser = EDMDenoiser(Recorder())
    gap = [(denoiser(images, s) - images).abs().max().item() for s in (1e-2, 1e-3, 1e-4)]
    assert gap[2] < 1e-3
    assert gap[0] / gap[1] == pytest.approx(10, rel=0.1)  # c_out falls like sigma


def test_network_computes_in_its_dtype_and_state_comes_back_in_float32(images):
    raw = Recorder()
    got = EDMDenoiser(raw, dtype=torch.bfloat16)(
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
    EDMDenoiser(raw)(images, 1.0, labels=torch.eye(3), augment_labels=torch.ones(3, 9))
    assert raw.seen[2] is None
    assert raw.seen[3].shape == (3, 9)


@pytest.mark.parametrize("sigma", [0.002, 0.5, 80.0])
def test_weight_undoes_the_output_scale(sigma):
    """lambda = 1 / c_out^2 (Karras et al. 2022, App. B.6)."""
    c_out = 0.5 * sigma / math.sqrt(sigma**2 + 0.25)
    assert loss_weight(torch.tensor(sigma)).item() == pytest.approx(1 / c_out**2, rel=1e-5)


def test_loss_is_a_sum_over_pixels_and_a_mean_over_the_batch(images, seeded):
    noise = torch.randn(images.shape, generator=seeded(1))
    sigma = torch.tensor([0.1, 1.0, 10.0])
    seen = {}

    def denoiser(x, s, labels, augment_labels):
        seen.update(x=x, sigma=s, labels=labels, augment_labels=augment_labels)
        return torch.zeros_like(x)

    loss = edm_loss(denoiser, images, noise, sigma, labels="labels", augment_labels="augmented")
    total = 0.0
    for i, s in enumerate(sigma.tolist()):
        torch.testing.assert_close(seen["x"][i], images[i] + s * noise[i])
        total += (s**2 + 0.25) / (0.5 * s) ** 2 * (images[i] ** 2).sum().item()
    assert loss.item() == pytest.approx(total / 3, rel=1e-5)
    assert torch.equal(seen["sigma"], sigma)
    assert (seen["labels"], seen["augment_labels"]) == ("labels", "augmented")


def test_log_sigma_is_normal(seeded):
    """Means of 100,000 draws: standard errors 0.004 and 0.003."""
    log = draw_sigma(100_000, seeded()).log()
    assert log.mean().item() == pytest.approx(-1.2, abs=0.02)
    assert log.std().item() == pytest.approx(1.2, abs=0.02)
    assert (log < -1.2).float().mean().item() == pytest.approx(0.5, abs=0.01)
    other = draw_sigma(100_000, seeded(), P_mean=0.5, P_std=0.3).log()
    torch.testing.assert_close(other, (log + 1.2) / 1.2 * 0.3 + 0.5, atol=1e-5, rtol=1e-5)


def test_sigma_comes_from_the_generator_alone(seeded):
    before = torch.random.get_rng_state()
    assert torch.equal(draw_sigma(5, seeded(3)), draw_sigma(5, seeded(3)))
    assert not torch.equal(draw_sigma(5, seeded(3)), draw_sigma(5, seeded(4)))
    assert torch.equal(torch.random.get_rng_state(), before)
