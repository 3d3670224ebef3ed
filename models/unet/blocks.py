"""Layers that every network here is built of.

Linear layers, convolutions with resampling, residual blocks and embeddings. Parameter names and
shapes are those of the released EDM networks (Karras et al. 2022), so their state dicts load.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Init:
    """Initial weights of a layer: a distribution, times a scale.

    Attributes:
        mode: ``xavier_uniform``, ``kaiming_uniform`` or ``kaiming_normal``.
        weight: scale of the weights.
        bias: scale of the biases.

    """

    mode: str = "xavier_uniform"
    weight: float = 1.0
    bias: float = 0.0

    def draw(self, shape: Sequence[int], fan_in: int, fan_out: int) -> Tensor:
        """Draw an unscaled tensor of ``shape``, float32, on the default device."""
        # Float32 whatever the default dtype: numbers drawn in float64 are others.
        options: dict[str, Any] = {"dtype": torch.float32}
        match self.mode:
            case "xavier_uniform":
                return math.sqrt(6 / (fan_in + fan_out)) * (torch.rand(shape, **options) * 2 - 1)
            case "kaiming_uniform":
                return math.sqrt(3 / fan_in) * (torch.rand(shape, **options) * 2 - 1)
            case "kaiming_normal":
                return math.sqrt(1 / fan_in) * torch.randn(shape, **options)
        raise ValueError(
            f"unknown initialisation {self.mode!r}; use xavier_uniform, kaiming_uniform,"
            " kaiming_normal"
        )


@dataclass(frozen=True)
class BlockStyle:
    """Differences between the residual blocks of the network families.

    Attributes:
        scale_shift: the embedding scales and shifts the second norm (ADM) rather than being added
            before it (DDPM++).
        gain: factor on every residual sum; sqrt(1/2) keeps its variance.
        norm_eps: epsilon of the group norms.
        resample_filter: 1-D filter of the up- and down-sampling.
        weighted_skip: a resampling block has 1x1 weights on its skip even if its channels stay.
        channels_per_head: width of an attention head; None for a single head.
        init: of most layers.
        init_last: of the last layers of a branch.
        init_attention: of queries, keys and values.

    """

    scale_shift: bool
    gain: float
    norm_eps: float
    resample_filter: tuple[int, ...]
    weighted_skip: bool
    channels_per_head: int | None
    init: Init
    init_last: Init
    init_attention: Init


class Linear(nn.Module):
    """y = x W^T + b, x ``[n, in]``."""

    def __init__(self, in_features: int, out_features: int, init: Init, bias: bool = True):
        super().__init__()
        fans = (in_features, out_features)
        self.weight = nn.Parameter(init.weight * init.draw((out_features, in_features), *fans))
        self.bias = nn.Parameter(init.bias * init.draw((out_features,), *fans)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        # Weights are kept in float32 and follow the input, which may be bfloat16.
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class Conv2d(nn.Module):
    """Convolution that may resample by two before it, with the separable filter f f^T / (sum f)^2.

    ``kernel=0`` only resamples and has no weights. ``fused=True`` (the residual encoder of NCSN++)
    convolves first, padded for the filter, then filters with stride two, then adds the bias.
    """

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        init: Init,
        *,
        up: bool = False,
        down: bool = False,
        resample_filter: Sequence[int] = (1, 1),
        fused: bool = False,
    ):
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel = kernel
        self.up = up
        self.down = down
        self.fused = fused
        if kernel:
            fans = (in_channels * kernel**2, out_channels * kernel**2)
            shape = (out_channels, in_channels, kernel, kernel)
            self.weight = nn.Parameter(init.weight * init.draw(shape, *fans))
            self.bias = nn.Parameter(init.bias * init.draw((out_channels,), *fans))
        if up or down:
            taps = torch.tensor(resample_filter, dtype=torch.float32)
            square = taps.outer(taps) / taps.sum() ** 2
            self.register_buffer("resample_filter", square[None, None])  # [1, 1, l, l]
            # The box filter is a mean over 2x2 and a repetition: both have fast kernels everywhere.
            self.is_box = tuple(resample_filter) == (1, 1)

    def forward(self, x: Tensor) -> Tensor:  # [n, c_in, h, w] -> [n, c_out, h', w']
        if self.fused:
            padding = self.kernel // 2 + self._filter_padding()
            x = F.conv2d(x, self.weight.to(x.dtype), padding=padding)
            x = self._filter_down(x, padding=0)
            # Last, as in the released networks: the filter sums to 1, so only rounding differs.
            return x + self.bias.to(x.dtype)[:, None, None]
        if self.up:
            x = self._filter_up(x)
        if self.down:
            x = self._filter_down(x, padding=self._filter_padding())
        if self.kernel:
            weight = self.weight.to(x.dtype)
            bias = self.bias.to(x.dtype)
            x = F.conv2d(x, weight, bias, padding=self.kernel // 2)
        return x

    def _filter_padding(self) -> int:
        return (self.resample_filter.shape[-1] - 1) // 2

    def _filter_down(self, x: Tensor, padding: int) -> Tensor:
        if self.is_box and not padding:
            return F.avg_pool2d(x, 2)
        channels = x.shape[1]
        taps = self.resample_filter.to(x.dtype).expand(channels, 1, -1, -1)
        return F.conv2d(x, taps, groups=channels, stride=2, padding=padding)

    def _filter_up(self, x: Tensor) -> Tensor:
        if self.is_box:
            return F.interpolate(x, scale_factor=2, mode="nearest")
        channels = x.shape[1]
        # Times 4: of the pixels that the filter sees, three in four are the zeros in between.
        taps = (4 * self.resample_filter).to(x.dtype).expand(channels, 1, -1, -1)
        padding = self._filter_padding()
        return F.conv_transpose2d(x, taps, groups=channels, stride=2, padding=padding)


class GroupNorm(nn.Module):
    """Group norm over min(32, channels // 4) groups.

    Raises:
        ValueError: the channels cannot be split into that many groups.

    """

    def __init__(self, channels: int, eps: float):
        super().__init__()
        # At least 4 channels in a group, or a norm would erase most of what they say.
        self.groups = min(32, channels // 4)
        self.eps = eps
        if not self.groups or channels % self.groups:
            raise ValueError(
                f"{channels} channels cannot be group-normed: take widths that are multiples of 4,"
                " above 128 of 32"
            )
        self.weight = nn.Parameter(torch.ones(channels, dtype=torch.float32))
        self.bias = nn.Parameter(torch.zeros(channels, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        bias = self.bias.to(x.dtype)
        return F.group_norm(x, self.groups, weight, bias, self.eps)


class UNetBlock(nn.Module):
    """Residual block with the embedding of noise level and labels.

    Resampling and self-attention are optional.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        emb_channels: int,
        style: BlockStyle,
        *,
        up: bool = False,
        down: bool = False,
        attention: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.style = style
        self.dropout = dropout
        self.out_channels = out_channels
        resampling: dict[str, Any] = {
            "up": up,
            "down": down,
            "resample_filter": style.resample_filter,
        }
        embedded = 2 * out_channels if style.scale_shift else out_channels
        self.norm0 = GroupNorm(in_channels, style.norm_eps)
        self.conv0 = Conv2d(in_channels, out_channels, 3, style.init, **resampling)
        self.affine = Linear(emb_channels, embedded, style.init)
        self.norm1 = GroupNorm(out_channels, style.norm_eps)
        self.conv1 = Conv2d(out_channels, out_channels, 3, style.init_last)
        self.skip = None
        if in_channels != out_channels or up or down:
            # Kernel 0 resamples without weights.
            kernel = 1 if in_channels != out_channels or style.weighted_skip else 0
            self.skip = Conv2d(in_channels, out_channels, kernel, style.init, **resampling)
        self.heads = 0
        if attention:
            # Narrower than one head, a block of ADM has none and does not attend.
            per_head = style.channels_per_head
            self.heads = out_channels // per_head if per_head else 1
        if self.heads:
            self.norm2 = GroupNorm(out_channels, style.norm_eps)
            self.qkv = Conv2d(out_channels, 3 * out_channels, 1, style.init_attention)
            self.proj = Conv2d(out_channels, out_channels, 1, style.init_last)

    # x [n, c_in, h, w], emb [n, e] -> [n, c_out, h', w']
    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv0(F.silu(self.norm0(x)))
        embedded = self.affine(emb)[:, :, None, None]
        # ADM scales around 1, so that an embedding of 0 changes nothing.
        if self.style.scale_shift:
            scale, shift = embedded.chunk(2, dim=1)
            h = F.silu(torch.addcmul(shift, self.norm1(h), scale + 1))
        else:
            h = F.silu(self.norm1(h + embedded))
        if self.dropout:
            h = F.dropout(h, self.dropout, self.training)
        h = self.conv1(h)
        skipped = x if self.skip is None else self.skip(x)
        # Each sum of two branches doubles the variance unless it is scaled back.
        x = (h + skipped) * self.style.gain
        if self.heads:
            attended = self._attend(self.qkv(self.norm2(x)))
            x = (self.proj(attended) + x) * self.style.gain
        return x

    def _attend(self, qkv: Tensor) -> Tensor:
        n, c3, h, w = qkv.shape
        per_head = c3 // (3 * self.heads)
        # Query, key and value alternate, channel by channel.
        split = qkv.reshape(n, self.heads, per_head, 3, h * w)
        # [n, heads, h * w, c / heads] each, contiguous for the fused kernels, which take the
        # softmax in float32.
        q, k, v = split.permute(3, 0, 1, 4, 2).contiguous()
        attended = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, c3 // 3, h, w)
        # With one head that is a channels-last view, which would spread to all later layers; a CPU
        # norms those slowly.
        return attended.contiguous() if qkv.is_contiguous() else attended


class PositionalEmbedding(nn.Module):
    """[cos, sin] of the noise condition times frequencies 10000^(-i / (c/2 - e)).

    e is 1 with ``endpoint``, so that the last frequency is 1/10000 itself.
    """

    def __init__(self, channels: int, endpoint: bool):
        super().__init__()
        self.channels = channels
        self.endpoint = endpoint

    def forward(self, c_noise: Tensor) -> Tensor:  # [n] -> [n, channels]
        half = self.channels // 2
        steps = torch.arange(half, dtype=torch.float32, device=c_noise.device)
        steps = steps / (half - int(self.endpoint))
        # In float32 whatever the network computes in: bfloat16 cannot tell nearby levels apart.
        angles = c_noise.float().outer((1 / 10000) ** steps)
        return torch.cat([angles.cos(), angles.sin()], dim=1)


class FourierEmbedding(nn.Module):
    """[cos, sin] of 2 pi f times the noise condition.

    The frequencies f ~ N(0, 16^2) are drawn once and stored with the weights.
    """

    freqs: Tensor

    def __init__(self, channels: int, scale: float = 16):
        super().__init__()
        self.register_buffer("freqs", torch.randn(channels // 2, dtype=torch.float32) * scale)

    def forward(self, c_noise: Tensor) -> Tensor:  # [n] -> [n, channels]
        # .float(): the buffer follows the module into bfloat16.
        angles = c_noise.float().outer(2 * math.pi * self.freqs.float())
        return torch.cat([angles.cos(), angles.sin()], dim=1)
