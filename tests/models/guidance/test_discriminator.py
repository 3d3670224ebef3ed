import math

import pytest
import torch

from models.guidance.discriminator import (
    Discriminator,
    EncoderOptions,
    EncoderRefused,
    Head,
    HeadOptions,
    NoisyEncoder,
    draw_log_uniform_sigma,
    encoder_files,
    feature_channels,
    load_encoder,
)

SMALL = EncoderOptions(width=8)


class Scaled(torch.nn.Module):
    def forward(self, x_in, sigma):
        return torch.cat([x_in, x_in * sigma[:, None, None, None]], dim=1)


def test_begins_undecided_and_only_the_head_trains(scramble):
    net = Discriminator(scramble(NoisyEncoder((1, 8, 8), SMALL)), Head(16, HeadOptions(width=8)))
    x, sigma = (
        torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0.05, 1.0, 80.0]),
    )
    assert torch.equal(net(x, sigma), torch.zeros(3))
    assert not any(p.requires_grad for p in net.encoder.parameters())
    assert all(p.requires_grad for p in net.head.parameters())
    assert not net.train().encoder.training
    assert net.head.training


def test_encoder_sees_the_state_scaled_to_unit_variance():
    seen = []

    def encoder(x_in, sigma):
        seen.append(x_in)
        return x_in

    class Spy(torch.nn.Module):
        forward = staticmethod(encoder)

    sigma = torch.tensor([0.0, math.sqrt(3)])
    Discriminator(Spy(), Head(1, HeadOptions(width=8))).encode(torch.full((2, 1, 2, 2), 4.0), sigma)
    torch.testing.assert_close(seen[0][:, 0, 0, 0], torch.tensor([4.0, 2.0]))


def test_a_gradient_reaches_the_image_through_the_frozen_encoder(scramble):
    net = scramble(Discriminator(NoisyEncoder((1, 8, 8), SMALL), Head(16, HeadOptions(width=8))))
    x = torch.zeros(2, 1, 8, 8, requires_grad=True)
    net(x, torch.ones(2)).sum().backward()
    assert x.grad.abs().min() > 0


@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 7, 7)])
def test_encoder_takes_every_image_shape(shape):
    encoder = NoisyEncoder(shape, SMALL)
    features = encoder(torch.zeros(2, *shape), torch.ones(2))
    assert features.shape[:2] == (2, encoder.channels)
    assert features.shape[-1] <= 8


def test_conditional_discriminator_tells_classes_apart_and_asks_for_labels(scramble):
    net = scramble(Discriminator(Scaled(), Head(2, HeadOptions(width=8, label_dim=3))))
    x, sigma = torch.ones(3, 1, 4, 4), torch.ones(3)
    assert len(net(x, sigma, torch.eye(3)).unique()) == 3
    with pytest.raises(ValueError, match="knows 3 classes"):
        net(x, sigma)


def test_features_without_pixels_will_do(scramble):
    head = scramble(Head(5, HeadOptions(width=8)))
    assert head(torch.zeros(2, 5), torch.ones(2)).shape == (2,)


def test_sigma_is_log_uniform():
    sigma = draw_log_uniform_sigma(20_000, torch.Generator().manual_seed(0))
    share = (sigma.log() - math.log(1e-3)) / math.log(152e3)
    assert share.min() >= 0
    assert share.max() <= 1
    # Deciles of a uniform law; 4 standard errors.
    counts = torch.histc(share, 10, 0, 1) / 20_000
    assert (counts - 0.1).abs().max() < 4 * math.sqrt(0.09 / 20_000)


def test_own_encoder_comes_back_from_its_two_files(tmp_path, scramble):
    encoder = scramble(NoisyEncoder((1, 8, 8), SMALL))
    for name, data in encoder_files(encoder, tmp_path / "e.safetensors").items():
        (tmp_path / name).write_bytes(data)
    again = load_encoder(tmp_path / "e.safetensors", (1, 8, 8))
    x, sigma = torch.ones(2, 1, 8, 8), torch.tensor([0.1, 2.0])
    assert torch.equal(again(x, sigma), encoder(x, sigma))
    with pytest.raises(EncoderRefused, match=r"for images \[1, 8, 8\], these are \[1, 16, 16\]"):
        load_encoder(tmp_path / "e.safetensors", (1, 16, 16))
    (tmp_path / "e.safetensors").write_bytes(b"rubbish")
    with pytest.raises(EncoderRefused, match="does not hold what e.json says"):
        load_encoder(tmp_path / "e.safetensors", (1, 8, 8))
    (tmp_path / "e.json").unlink()
    with pytest.raises(EncoderRefused, match="does not give the encoder's options"):
        load_encoder(tmp_path / "e.safetensors", (1, 8, 8))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_encoder_is_called_with_state_and_sigma(tmp_path):
    torch.jit.save(
        torch.jit.trace(Scaled(), (torch.ones(2, 1, 4, 4), torch.ones(2))), tmp_path / "e.pt"
    )
    encoder = load_encoder(tmp_path / "e.pt", (1, 4, 4))
    assert (
        Discriminator(
            encoder, Head(feature_channels(encoder, (1, 4, 4)), HeadOptions(width=8))
        ).encoder
        is encoder
    )
    x, sigma = torch.ones(2, 1, 4, 4), torch.tensor([0.1, 2.0])
    assert torch.equal(encoder(x, sigma), Scaled()(x, sigma))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_no_encoder_is_refused_in_one_line(tmp_path):
    with pytest.raises(EncoderRefused, match="no encoder"):
        load_encoder(tmp_path / "absent.pt", (1, 4, 4))
    (tmp_path / "pickle.pt").write_bytes(b"rubbish")
    with pytest.raises(EncoderRefused, match="not a TorchScript") as caught:
        load_encoder(tmp_path / "pickle.pt", (1, 4, 4))
    assert "\n" not in str(caught.value)

    class Wrong(torch.nn.Module):
        def forward(self, x_in, sigma):
            return sigma

    with pytest.raises(EncoderRefused, match=r"returns \[2\]"):
        feature_channels(Wrong(), (1, 4, 4))
    with pytest.raises(EncoderRefused, match="does not take"):
        feature_channels(torch.nn.Linear(3, 3), (1, 4, 4))
