"""The whole network against a second one, written from the equations and driven by nothing but the
state dict.
"""

import math

import pytest
import torch

from models.unet.families import ADM, DDPMPP, NCSNPP
from models.unet.unet import UNet

SMALL = {
    "img_resolution": 8,
    "img_channels": 2,
    "label_dim": 3,
    "augment_dim": 2,
    "model_channels": 16,
    "channel_mult": (1, 2),
    "num_blocks": 1,
    "attn_resolutions": (4,),
    "dropout": 0.1,
}
FAMILIES = {
    "ddpmpp": (DDPMPP, SMALL),
    "ncsnpp": (NCSNPP, SMALL),
    "ncsnpp-three-levels": (NCSNPP, {**SMALL, "channel_mult": (1, 1, 2), "num_blocks": 2}),
    "adm": (ADM, {**SMALL, "model_channels": 64, "num_blocks": 2}),
}


def silu(x):
    return x / (1 + (-x).exp())


class Written:
    """F(x; c_noise) from a state dict ``{name: tensor}``, in float64."""

    def __init__(self, name, state, sizes, filter_matrix):
        self.adm, self.ncsn = name.startswith("adm"), name.startswith("ncsn")
        self.state = {key: value.double() for key, value in state.items()}
        self.sizes, self.filter_matrix = sizes, filter_matrix
        self.taps = [1, 3, 3, 1] if self.ncsn else [1, 1]
        self.gain = 1 if self.adm else math.sqrt(0.5)

    def linear(self, name, x):
        return x @ self.state[f"{name}.weight"].T + self.state.get(f"{name}.bias", 0)

    def norm(self, name, x):
        n, c, h, w = x.shape
        parts = x.reshape(n, min(32, c // 4), -1)
        mean, variance = parts.mean(2, keepdim=True), parts.var(2, unbiased=False, keepdim=True)
        x = ((parts - mean) / (variance + (1e-5 if self.adm else 1e-6)).sqrt()).reshape(n, c, h, w)
        return (
            x * self.state[f"{name}.weight"][:, None, None]
            + self.state[f"{name}.bias"][:, None, None]
        )

    def convolve(self, weight, x, padding):
        """Convolution as one product of unfolded patches."""
        out, _, k, _ = weight.shape
        patches = torch.nn.functional.unfold(x, k, padding=padding)  # [n, c k k, positions]
        side = x.shape[2] + 2 * padding - k + 1
        return (weight.reshape(out, -1) @ patches).reshape(len(x), out, side, side)

    def resample(self, x, how):
        padding = (len(self.taps) - 1) // 2
        if how == "down":
            matrix = self.filter_matrix(x.shape[2], self.taps, padding).double()
        elif how == "up":
            matrix = 2 * self.filter_matrix(2 * x.shape[2], self.taps, padding).double().T
        else:
            return x
        return matrix @ x @ matrix.T

    def conv(self, name, x, how=None):
        x = self.resample(x, how)
        if f"{name}.weight" not in self.state:
            return x
        weight = self.state[f"{name}.weight"]
        return (
            self.convolve(weight, x, weight.shape[-1] // 2)
            + self.state[f"{name}.bias"][:, None, None]
        )

    def fused(self, name, x):
        p = (len(self.taps) - 1) // 2
        x = self.convolve(self.state[f"{name}.weight"], x, 1 + p)
        matrix = self.filter_matrix(x.shape[2], self.taps, 0).double()
        return matrix @ x @ matrix.T + self.state[f"{name}.bias"][:, None, None]

    def block(self, name, x, emb):
        how = name.rsplit("_", 1)[1] if name.endswith(("_up", "_down")) else None
        h = self.conv(f"{name}.conv0", silu(self.norm(f"{name}.norm0", x)), how)
        affine = self.linear(f"{name}.affine", emb)[:, :, None, None]
        if self.adm:
            width = affine.shape[1] // 2
            h = silu(self.norm(f"{name}.norm1", h) * (1 + affine[:, :width]) + affine[:, width:])
        else:
            h = silu(self.norm(f"{name}.norm1", h + affine))
        h = self.conv(f"{name}.conv1", h)
        has_skip = how or f"{name}.skip.weight" in self.state
        y = (h + (self.conv(f"{name}.skip", x, how) if has_skip else x)) * self.gain
        if f"{name}.qkv.weight" not in self.state:
            return y
        attended = self.attend(self.conv(f"{name}.qkv", self.norm(f"{name}.norm2", y)))
        return (self.conv(f"{name}.proj", attended) + y) * self.gain

    def attend(self, qkv):
        n, c, h, w = qkv.shape
        width = 64 if self.adm else c // 3
        out = []
        for share in qkv.reshape(n, c, h * w).split(3 * width, dim=1):
            q, k, v = share[:, 0::3], share[:, 1::3], share[:, 2::3]
            weights = torch.softmax(torch.einsum("ncq,nck->nqk", q, k) / math.sqrt(width), dim=2)
            out.append(torch.einsum("nqk,nck->ncq", weights, v))
        return torch.cat(out, dim=1).reshape(n, c // 3, h, w)

    def embed(self, c_noise, labels, augment_labels):
        if self.ncsn:
            angles = 2 * math.pi * c_noise[:, None] * self.state["map_noise.freqs"]
        else:
            half = self.sizes["model_channels"] // 2
            exponents = torch.arange(half).double() / (half - (0 if self.adm else 1))
            angles = c_noise[:, None] * 10000.0**-exponents
        if self.adm:
            m = torch.cat([angles.cos(), angles.sin()], dim=1)
        else:
            m = torch.cat([angles.sin(), angles.cos()], dim=1)
            m = m + self.linear("map_label", math.sqrt(labels.shape[1]) * labels)
        m = m + self.linear("map_augment", augment_labels)
        m = self.linear("map_layer1", silu(self.linear("map_layer0", m)))
        return silu(m + self.linear("map_label", labels) if self.adm else m)

    def __call__(self, x, c_noise, labels, augment_labels):
        emb = self.embed(c_noise.double(), labels.double(), augment_labels.double())
        x = side = x.double()
        levels = len(self.sizes["channel_mult"])
        resolutions = [f"{self.sizes['img_resolution'] >> level}" for level in range(levels)]
        skips = []
        for r in (f"{r}x{r}" for r in resolutions):
            if not skips:
                x = self.conv(f"enc.{r}_conv", x)
            else:
                x = self.block(f"enc.{r}_down", x, emb)
                if self.ncsn:
                    x = side = (x + self.fused(f"enc.{r}_aux_residual", side)) / math.sqrt(2)
            skips.append(x)
            for i in range(self.sizes["num_blocks"]):
                x = self.block(f"enc.{r}_block{i}", x, emb)
                skips.append(x)
        for r in (f"{r}x{r}" for r in reversed(resolutions)):
            first = ("in0", "in1") if r == f"{resolutions[-1]}x{resolutions[-1]}" else ("up",)
            for name in first:
                x = self.block(f"dec.{r}_{name}", x, emb)
            for i in range(self.sizes["num_blocks"] + 1):
                x = self.block(f"dec.{r}_block{i}", torch.cat([x, skips.pop()], dim=1), emb)
        assert not skips
        top = f"dec.{resolutions[0]}x{resolutions[0]}_aux_"
        norm, conv = ("out_norm", "out_conv") if self.adm else (f"{top}norm", f"{top}conv")
        return self.conv(conv, silu(self.norm(norm, x)))


@pytest.fixture
def inputs(seeded):
    g = seeded(5)
    labels = torch.eye(3)[[0, 2, 2]]
    return (
        torch.randn(3, 2, 8, 8, generator=g),
        torch.tensor([-1.5, 0.0, 1.0]),
        labels,
        torch.randn(3, 2, generator=g),
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_network_as_written_down(name, inputs, scramble, filter_matrix):
    family, sizes = FAMILIES[name]
    net = scramble(UNet(family, **sizes)).eval()
    with torch.no_grad():
        got = net(*inputs)
    expected = Written(name, net.state_dict(), sizes, filter_matrix)(*inputs)
    assert got.std() > 0.1  # the comparison means something
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_absent_augment_labels_are_zeros(name, inputs, scramble):
    family, sizes = FAMILIES[name]
    net = scramble(UNet(family, **sizes)).eval()
    x, c_noise, labels, augment_labels = inputs
    zeros = net(x, c_noise, labels, torch.zeros_like(augment_labels))
    torch.testing.assert_close(net(x, c_noise, labels, None), zeros)
    assert not torch.allclose(net(*inputs), zeros, atol=1e-3)


def test_attention_where_asked():
    """Song's decoders attend in the last block of a level, ADM's in all; the bottleneck always,
    resampling never.
    """

    def attending(family, **changes):
        state = UNet(family, **{**SMALL, "num_blocks": 2, **changes}).state_dict()
        return {key.removesuffix(".qkv.weight") for key in state if key.endswith(".qkv.weight")}

    assert attending(DDPMPP) == {
        "enc.4x4_block0",
        "enc.4x4_block1",
        "dec.4x4_in0",
        "dec.4x4_block2",
    }
    assert attending(DDPMPP, attn_resolutions=()) == {"dec.4x4_in0"}
    blocks = {
        "enc.4x4_block0",
        "enc.4x4_block1",
        "dec.4x4_block0",
        "dec.4x4_block1",
        "dec.4x4_block2",
    }
    assert attending(ADM, model_channels=64) == blocks | {"dec.4x4_in0"}


def test_initial_weights_song():
    net = UNet(DDPMPP, **{**SMALL, "model_channels": 64})
    state = net.state_dict()

    def bound(name, fan_in, fan_out, scale):
        assert state[name].abs().max().item() == pytest.approx(
            scale * math.sqrt(6 / (fan_in + fan_out)), rel=0.01
        )

    bound("enc.8x8_block0.conv0.weight", 9 * 64, 9 * 64, 1)
    bound("enc.8x8_block0.conv1.weight", 9 * 64, 9 * 64, 1e-5)
    bound("enc.4x4_block0.qkv.weight", 128, 3 * 128, math.sqrt(0.2))
    bound("enc.4x4_block0.proj.weight", 128, 128, 1e-5)
    bound("dec.8x8_aux_conv.weight", 9 * 64, 9 * 2, 1e-5)
    bound("map_layer0.weight", 64, 256, 1)
    biases = [value for key, value in state.items() if key.endswith("bias")]
    assert not any(bias.any() for bias in biases)
    assert all(
        value.eq(1).all()
        for key, value in state.items()
        if "norm" in key and key.endswith("weight")
    )


def test_initial_weights_adm():
    state = UNet(ADM, **{**SMALL, "model_channels": 64, "label_dim": 200}).state_dict()
    last = ("conv1", "proj", "out_conv", "map_augment")
    for key, value in state.items():
        if any(part in key.split(".") for part in last):
            assert not value.any(), key
    # Sqrt(1 / 200) * sqrt(200)
    assert state["map_label.weight"].std().item() == pytest.approx(1, rel=0.02)
    bound = math.sqrt(1 / 3) * math.sqrt(3 / (9 * 64))
    assert state["enc.8x8_block0.conv0.weight"].abs().max().item() == pytest.approx(bound, rel=0.01)
    assert state["enc.8x8_block0.conv0.bias"].abs().max().item() == pytest.approx(bound, rel=0.1)
    assert state["enc.4x4_block0.qkv.weight"].abs().max().item() == pytest.approx(
        math.sqrt(1 / 128), rel=0.01
    )


def test_resolution_that_cannot_be_halved():
    with pytest.raises(ValueError, match="give fewer levels"):
        UNet(DDPMPP, **{**SMALL, "img_resolution": 6, "channel_mult": (1, 1, 1)})
