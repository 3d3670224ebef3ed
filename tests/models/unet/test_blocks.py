import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.unet.blocks import (
    Conv2d,
    FourierEmbedding,
    GroupNorm,
    Init,
    Linear,
    PositionalEmbedding,
    UNetBlock,
)
from models.unet.families import ADM, DDPMPP

FILTERS = [(1, 1), (1, 3, 3, 1)]


def fresh(mode, weight=1.0, bias=0.0):
    return Init(mode, weight, bias)


def convolve_loops(x, weight, padding):
    """[c_in, h, w] and [c_out, c_in, k, k] -> [c_out, h', w'], stride 1."""
    k = weight.shape[-1]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    out = np.zeros((len(weight), x.shape[1] - k + 1, x.shape[2] - k + 1))
    for o, i, j in np.ndindex(*out.shape):
        out[o, i, j] = (weight[o] * x[:, i : i + k, j : j + k]).sum()
    return out


def filter_loops(x, taps, padding):
    """[c, h, w] -> [c, h', w']: the explicit sum over K = f f^T / (sum f)^2 with stride two."""
    kernel = np.outer(taps, taps) / sum(taps) ** 2
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    size = (x.shape[1] - len(taps)) // 2 + 1
    out = np.zeros((len(x), size, size))
    for c, i, j in np.ndindex(*out.shape):
        out[c, i, j] = (kernel * x[c, 2 * i : 2 * i + len(taps), 2 * j : 2 * j + len(taps)]).sum()
    return out


@pytest.mark.parametrize("taps", FILTERS)
def test_down_sampling_is_the_explicit_sum(taps, seeded):
    x = torch.randn(1, 2, 6, 6, generator=seeded())
    got = Conv2d(2, 2, 0, Init(), down=True, resample_filter=taps)(x)
    expected = filter_loops(x[0].numpy(), taps, padding=(len(taps) - 1) // 2)
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("taps", FILTERS)
def test_up_sampling_spreads_every_pixel_by_four_times_the_kernel(taps, seeded):
    x = torch.randn(1, 2, 5, 5, generator=seeded())
    got = Conv2d(2, 2, 0, Init(), up=True, resample_filter=taps)(x)
    kernel, p = 4 * np.outer(taps, taps) / sum(taps) ** 2, (len(taps) - 1) // 2
    canvas = np.zeros((2, 10 + 2 * p, 10 + 2 * p))
    for c, i, j in np.ndindex(2, 5, 5):
        canvas[c, 2 * i : 2 * i + len(taps), 2 * j : 2 * j + len(taps)] += (
            kernel * x[0, c, i, j].item()
        )
    np.testing.assert_allclose(got[0].numpy(), canvas[:, p : 10 + p, p : 10 + p], atol=1e-6)


def test_box_filter_is_mean_and_repetition():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    down = Conv2d(1, 1, 0, Init(), down=True)(x)
    assert down.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    up = Conv2d(1, 1, 0, Init(), up=True)(x)
    assert up[0, 0].tolist() == np.kron(x[0, 0].numpy(), np.ones((2, 2))).tolist()


@pytest.mark.parametrize("taps", FILTERS)
@pytest.mark.parametrize("kernel", [1, 3])
def test_resamples_before_convolving(taps, kernel, seeded, scramble):
    x = torch.randn(1, 2, 6, 6, generator=seeded())
    conv = scramble(Conv2d(2, 3, kernel, Init(), down=True, resample_filter=taps))
    small = filter_loops(x[0].numpy(), taps, (len(taps) - 1) // 2)
    expected = convolve_loops(small, conv.weight.detach().numpy(), kernel // 2)
    expected += conv.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(conv(x)[0].detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("taps", FILTERS)
def test_fused_convolution_filters_after_it_and_adds_the_bias_last(taps, seeded, scramble):
    x = torch.randn(1, 2, 8, 8, generator=seeded())
    conv = scramble(Conv2d(2, 3, 3, Init(), down=True, resample_filter=taps, fused=True))
    wide = convolve_loops(
        x[0].numpy(), conv.weight.detach().numpy(), padding=1 + (len(taps) - 1) // 2
    )
    expected = filter_loops(wide, taps, padding=0) + conv.bias.detach().numpy()[:, None, None]
    got = conv(x)[0].detach().numpy()
    assert got.shape == (3, 4, 4)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_resampling_alone_has_no_parameters():
    conv = Conv2d(2, 2, 0, Init(), down=True, resample_filter=(1, 3, 3, 1))
    assert not list(conv.parameters())
    assert conv.state_dict().keys() == {"resample_filter"}
    assert conv.resample_filter.sum() == 1


def test_linear(seeded, scramble):
    x = torch.randn(2, 3, generator=seeded())
    linear = scramble(Linear(3, 4, Init()))
    torch.testing.assert_close(linear(x), x @ linear.weight.T + linear.bias)
    assert Linear(3, 4, Init(), bias=False).bias is None


@pytest.mark.parametrize(("channels", "groups"), [(4, 1), (12, 3), (128, 32), (256, 32)])
def test_group_norm(channels, groups, seeded, scramble):
    x = torch.randn(2, channels, 3, 3, generator=seeded()) * 1e-2 + 0.1
    # An epsilon that shows beside a variance of 1e-4
    norm = scramble(GroupNorm(channels, eps=1e-3))
    grouped = x.numpy().reshape(2, groups, -1).astype(np.float64)
    centred = grouped - grouped.mean(2, keepdims=True)
    expected = (centred / np.sqrt(grouped.var(2, keepdims=True) + 1e-3)).reshape(x.shape)
    expected = (
        expected * norm.weight.detach().numpy()[:, None, None]
        + norm.bias.detach().numpy()[:, None, None]
    )
    np.testing.assert_allclose(norm(x).detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("channels", [2, 18, 132])
def test_group_norm_refuses_odd_widths(channels):
    with pytest.raises(ValueError, match="multiples of 4"):
        GroupNorm(channels, eps=1e-6)


@pytest.mark.parametrize(
    ("style", "channels", "heads"), [(DDPMPP.style, 64, 1), (ADM.style, 64, 1), (ADM.style, 128, 2)]
)
def test_attention_is_the_naive_loop(style, channels, heads, seeded):
    """Query, key and value of channel c of a head lie at 3 c, 3 c + 1, 3 c + 2 of the head's share
    of qkv.
    """
    block = UNetBlock(channels, channels, 8, style, attention=True)
    assert block.heads == heads
    qkv = 2 * torch.randn(1, 3 * channels, 2, 2, generator=seeded())
    flat, width = qkv[0].reshape(3 * channels, 4).double().numpy(), channels // heads
    expected = np.zeros((channels, 4))
    for head in range(heads):
        share = flat[3 * width * head : 3 * width * (head + 1)]
        q, k, v = share[0::3], share[1::3], share[2::3]
        for query in range(4):
            logits = np.array([q[:, query] @ k[:, key] / math.sqrt(width) for key in range(4)])
            weights = np.exp(logits - logits.max())
            weights /= weights.sum()
            for key in range(4):
                expected[width * head : width * (head + 1), query] += weights[key] * v[:, key]
    np.testing.assert_allclose(
        block._attend(qkv)[0].reshape(channels, 4).numpy(), expected, atol=1e-5
    )


def test_attention_in_bfloat16_rounds_only_its_ends(seeded):
    block = UNetBlock(64, 64, 8, DDPMPP.style, attention=True)
    qkv = (3 * torch.randn(2, 192, 4, 4, generator=seeded())).bfloat16()
    exact = block._attend(qkv.float())
    torch.testing.assert_close(block._attend(qkv).float(), exact, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_attention_leaves_the_memory_layout_alone(layout, seeded):
    """The layout of one layer's output is that of all later layers, and CPUs norm channels-last
    slowly.
    """
    block = UNetBlock(64, 64, 8, DDPMPP.style, attention=True).to(memory_format=layout)
    x = torch.randn(2, 64, 4, 4, generator=seeded()).contiguous(memory_format=layout)
    assert block(x, torch.zeros(2, 8)).is_contiguous(memory_format=layout)


def test_heads_of_adm():
    def block(channels):
        return UNetBlock(channels, channels, 8, ADM.style, attention=True)

    assert [block(c).heads for c in (32, 64, 192, 256)] == [0, 1, 3, 4]
    assert not hasattr(block(32), "qkv")
    assert UNetBlock(64, 64, 8, ADM.style).heads == 0


@pytest.mark.parametrize("attention", [False, True])
def test_fresh_block_is_its_gain(attention, seeded):
    """Last layers begin near zero, so a residual sum begins as its skip times the gain."""
    x, emb = torch.randn(2, 64, 4, 4, generator=seeded()), torch.randn(2, 8, generator=seeded(1))
    sums = 2 if attention else 1
    song = UNetBlock(64, 64, 8, DDPMPP.style, attention=attention)(x, emb)
    torch.testing.assert_close(song, x * math.sqrt(0.5) ** sums, atol=1e-3, rtol=0)
    assert not torch.equal(song, x * math.sqrt(0.5) ** sums)
    torch.testing.assert_close(
        UNetBlock(64, 64, 8, ADM.style, attention=attention)(x, emb), x, atol=0, rtol=0
    )


def test_embedding_is_added_or_scales_and_shifts(seeded, scramble):
    x, emb = torch.randn(2, 16, 4, 4, generator=seeded()), torch.randn(2, 8, generator=seeded(1))
    for style, split in ((DDPMPP.style, 1), (ADM.style, 2)):
        block = scramble(UNetBlock(16, 16, 8, style))
        hidden = block.conv0(F.silu(block.norm0(x)))
        parts = block.affine(emb)[:, :, None, None].split(16, dim=1)
        assert len(parts) == split
        normed = (
            block.norm1(hidden + parts[0])
            if split == 1
            else block.norm1(hidden) * (1 + parts[0]) + parts[1]
        )
        expected = (block.conv1(F.silu(normed)) + x) * style.gain
        torch.testing.assert_close(block(x, emb), expected, atol=1e-5, rtol=1e-5)


def test_skips():
    def skip(style, c_in, c_out, **how):
        return UNetBlock(c_in, c_out, 8, style, **how).skip

    for style in (DDPMPP.style, ADM.style):
        assert skip(style, 16, 16) is None
        assert skip(style, 16, 32).weight.shape == (32, 16, 1, 1)
    assert skip(DDPMPP.style, 16, 16, down=True).weight.shape == (16, 16, 1, 1)
    assert not list(skip(ADM.style, 16, 16, down=True).parameters())


def test_dropout_acts_in_training_alone(seeded, scramble):
    x, emb = torch.randn(2, 16, 4, 4, generator=seeded()), torch.randn(2, 8, generator=seeded(1))
    block = scramble(UNetBlock(16, 16, 8, DDPMPP.style, dropout=0.5))
    plain = scramble(UNetBlock(16, 16, 8, DDPMPP.style))
    assert torch.equal(block.eval()(x, emb), plain(x, emb))
    assert not torch.allclose(block.train()(x, emb), plain(x, emb))


@pytest.mark.parametrize("endpoint", [True, False])
def test_positional_embedding(endpoint):
    c_noise = torch.tensor([-1.5, 0.0, 1.1])
    got = PositionalEmbedding(8, endpoint)(c_noise)
    for row, c in zip(got.tolist(), c_noise.tolist(), strict=True):
        angles = [c * 10000 ** (-i / (4 - endpoint)) for i in range(4)]
        assert row == pytest.approx(
            [math.cos(a) for a in angles] + [math.sin(a) for a in angles], abs=1e-6
        )


def test_fourier_embedding():
    embedding = FourierEmbedding(2000)
    assert embedding.freqs.shape == (1000,)
    assert "freqs" in embedding.state_dict()
    assert not list(embedding.parameters())
    assert embedding.freqs.std().item() == pytest.approx(16, rel=0.1)
    got = embedding(torch.tensor([0.25]))[0].numpy()
    angles = 2 * np.pi * embedding.freqs.numpy().astype(np.float64) * 0.25
    np.testing.assert_allclose(got, np.concatenate([np.cos(angles), np.sin(angles)]), atol=1e-4)


def test_initial_statistics():
    """Uniform on [-b, b] has standard deviation b / sqrt(3); a 3x3 convolution counts nine inputs a
    channel.
    """
    xavier = math.sqrt(6 / (9 * 40 + 9 * 60))
    kaiming = math.sqrt(3 / (9 * 40))
    for init, bound in (
        (fresh("xavier_uniform", 0.5), 0.5 * xavier),
        (fresh("kaiming_uniform", 0.5), 0.5 * kaiming),
    ):
        weight = Conv2d(40, 60, 3, init).weight
        assert weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
        assert weight.abs().max().item() <= bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
        assert weight.mean().item() == pytest.approx(0, abs=bound / 50)
    normal = Linear(400, 100, fresh("kaiming_normal", weight=2)).weight
    assert normal.std().item() == pytest.approx(2 / math.sqrt(400), rel=0.02)


def test_biases_begin_at_their_own_scale():
    assert not Linear(30, 2000, fresh("xavier_uniform")).bias.any()
    bias = Linear(30, 2000, fresh("kaiming_uniform", bias=0.5)).bias
    assert bias.abs().max().item() == pytest.approx(0.5 * math.sqrt(3 / 30), rel=0.01)


def test_unknown_initialisation_names_the_known():
    with pytest.raises(ValueError, match="xavier_uniform, kaiming_uniform, kaiming_normal"):
        fresh("orthogonal").draw((2, 2), 2, 2)


@pytest.mark.parametrize(
    "module", [Conv2d(8, 8, 3, Init(), down=True), GroupNorm(8, 1e-6), Linear(8, 8, Init())]
)
def test_computes_in_the_input_dtype(module: nn.Module):
    x = torch.ones(2, 8) if isinstance(module, Linear) else torch.ones(2, 8, 4, 4)
    assert module(x.bfloat16()).dtype == torch.bfloat16
