"""One U-Net, three families: DDPM++, NCSN++ (Song et al. 2021) and ADM (Dhariwal & Nichol 2021), as
EDM arranges them.

The wiring is one; a ``Family`` says what differs. Names and shapes of tensors are those of the
released networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.blocks import (
    BlockStyle,
    Conv2d,
    FourierEmbedding,
    GroupNorm,
    Init,
    Linear,
    PositionalEmbedding,
    UNetBlock,
)


@dataclass(frozen=True)
class Family:
    """What distinguishes one family of U-Nets.

    Attributes: style: its residual blocks. fourier: random Fourier features embed the noise level
        (NCSN++), else sines and cosines. residual_encoder: the down-sampled input is added to the
        encoder at every level (NCSN++). adm: ADM's order of mapping, widths, attention in all
        decoder blocks, and names of the output layers.

    """

    style: BlockStyle
    fourier: bool = False
    residual_encoder: bool = False
    adm: bool = False


_SONG = {
    "scale_shift": False,
    "gain": math.sqrt(0.5),
    "norm_eps": 1e-6,
    "weighted_skip": True,
    "channels_per_head": None,
    "init": Init(),
    "init_last": Init(weight=1e-5),
    "init_attention": Init(weight=math.sqrt(0.2)),
}
_ADM_INIT = Init("kaiming_uniform", weight=math.sqrt(1 / 3), bias=math.sqrt(1 / 3))

DDPMPP = Family(BlockStyle(resample_filter=(1, 1), **_SONG))
NCSNPP = Family(
    BlockStyle(resample_filter=(1, 3, 3, 1), **_SONG), fourier=True, residual_encoder=True
)
ADM = Family(
    BlockStyle(
        scale_shift=True,
        gain=1.0,
        norm_eps=1e-5,
        resample_filter=(1, 1),
        weighted_skip=False,
        channels_per_head=64,
        init=_ADM_INIT,
        init_last=Init("kaiming_uniform", weight=0.0),
        init_attention=_ADM_INIT,
    ),
    adm=True,
)


class UNet(nn.Module):
    """F(x; c_noise): the raw network inside the preconditioning.

    Args:
        family: ``DDPMPP``, ``NCSNPP`` or ``ADM``.
        img_resolution: height and width of the images, divisible by 2 ** (len(channel_mult) - 1).
        img_channels: channels of the images.
        label_dim: number of classes; 0 for an unconditional network.
        augment_dim: number of augmentation labels; 0 for none.
        model_channels: base width.
        channel_mult: width of each level as a multiple of ``model_channels``, finest level first.
        num_blocks: residual blocks a level.
        attn_resolutions: resolutions at which blocks attend.
        dropout: probability in the residual branches.

    """

    def __init__(
        self,
        family: Family,
        *,
        img_resolution: int,
        img_channels: int,
        label_dim: int,
        augment_dim: int,
        model_channels: int,
        channel_mult: Sequence[int],
        num_blocks: int,
        attn_resolutions: Sequence[int],
        dropout: float,
    ):
        super().__init__()
        if img_resolution % 2 ** (len(channel_mult) - 1):
            raise ValueError(
                f"{img_resolution} px cannot be halved {len(channel_mult) - 1} times: shorten"
                " channel_mult"
            )
        self.family, self.label_dim = family, label_dim
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self._make_mapping(model_channels, label_dim, augment_dim)
        block = {"emb_channels": 4 * model_channels, "style": family.style, "dropout": dropout}
        widths = [model_channels * mult for mult in channel_mult]
        attends = [img_resolution >> level in attn_resolutions for level in range(len(widths))]
        skips = self._make_encoder(img_channels, model_channels, widths, attends, num_blocks, block)
        self._make_decoder(img_channels, widths, attends, num_blocks, skips, block)

    def _make_mapping(self, model_channels: int, label_dim: int, augment_dim: int) -> None:
        family, init = self.family, self.family.style.init
        noise_channels = model_channels * (2 if family.fourier else 1)
        emb_channels = 4 * model_channels
        if family.fourier:
            self.map_noise = FourierEmbedding(noise_channels)
        else:
            self.map_noise = PositionalEmbedding(noise_channels, endpoint=not family.adm)
        self.map_label = self.map_augment = None
        if label_dim and family.adm:
            label_init = Init("kaiming_normal", weight=math.sqrt(label_dim))
            self.map_label = Linear(label_dim, emb_channels, label_init, bias=False)
        elif label_dim:
            self.map_label = Linear(label_dim, noise_channels, init)
        if augment_dim:
            augment_init = family.style.init_last if family.adm else init
            self.map_augment = Linear(augment_dim, noise_channels, augment_init, bias=False)
        self.map_layer0 = Linear(noise_channels, emb_channels, init)
        self.map_layer1 = Linear(emb_channels, emb_channels, init)

    def _make_encoder(
        self, img_channels, model_channels, widths, attends, num_blocks, block
    ) -> list[int]:
        """Build ``self.enc`` and return the widths of the outputs that the decoder takes up, in
        order.
        """
        style = self.family.style
        self.enc = nn.ModuleDict()
        width = widths[0] if self.family.adm else model_channels
        side, skips = img_channels, []
        for level, out in enumerate(widths):
            r = f"{self.img_resolution >> level}x{self.img_resolution >> level}"
            if level == 0:
                self.enc[f"{r}_conv"] = Conv2d(img_channels, width, 3, style.init)
            else:
                self.enc[f"{r}_down"] = UNetBlock(width, width, down=True, **block)
                if self.family.residual_encoder:
                    residual = {
                        "down": True,
                        "resample_filter": style.resample_filter,
                        "fused": True,
                    }
                    self.enc[f"{r}_aux_residual"] = Conv2d(side, width, 3, style.init, **residual)
                    side = width
            skips.append(width)
            for index in range(num_blocks):
                self.enc[f"{r}_block{index}"] = UNetBlock(
                    width, out, attention=attends[level], **block
                )
                width = out
                skips.append(width)
        return skips

    def _make_decoder(self, img_channels, widths, attends, num_blocks, skips, block) -> None:
        style, skips = self.family.style, list(skips)
        self.dec = nn.ModuleDict()
        width = widths[-1]
        for level, out in reversed(list(enumerate(widths))):
            r = f"{self.img_resolution >> level}x{self.img_resolution >> level}"
            if level == len(widths) - 1:
                self.dec[f"{r}_in0"] = UNetBlock(width, width, attention=True, **block)
                self.dec[f"{r}_in1"] = UNetBlock(width, width, **block)
            else:
                self.dec[f"{r}_up"] = UNetBlock(width, width, up=True, **block)
            for index in range(num_blocks + 1):
                attention = attends[level] and (self.family.adm or index == num_blocks)
                self.dec[f"{r}_block{index}"] = UNetBlock(
                    width + skips.pop(), out, attention=attention, **block
                )
                width = out
        out_norm = GroupNorm(width, style.norm_eps)
        out_conv = Conv2d(width, img_channels, 3, style.init_last)
        if self.family.adm:
            self.out_norm, self.out_conv = out_norm, out_conv
        else:
            r = f"{self.img_resolution}x{self.img_resolution}"
            self.dec[f"{r}_aux_norm"], self.dec[f"{r}_aux_conv"] = out_norm, out_conv

    def forward(
        self, x: Tensor, c_noise: Tensor, labels: Tensor | None, augment_labels: Tensor | None
    ) -> Tensor:
        """F of x ``[n, c, h, w]``, c_noise ``[n]``, labels ``[n | 1, label_dim]``, augment_labels
        ``[n, a]``.
        """
        emb = self._embed(c_noise, labels, augment_labels).to(x.dtype)
        side, skips = x, []
        for name, layer in self.enc.items():
            if name.endswith("aux_residual"):
                side = x = skips[-1] = (x + layer(side)) / math.sqrt(2)
            else:
                x = layer(x, emb) if isinstance(layer, UNetBlock) else layer(x)
                skips.append(x)
        for name, layer in self.dec.items():
            if name.endswith("aux_norm"):
                x = F.silu(layer(x))
            elif name.endswith("aux_conv"):
                x = layer(x)
            else:
                x = layer(torch.cat([x, skips.pop()], dim=1) if "_block" in name else x, emb)
        return self.out_conv(F.silu(self.out_norm(x))) if self.family.adm else x

    def _embed(
        self, c_noise: Tensor, labels: Tensor | None, augment_labels: Tensor | None
    ) -> Tensor:
        """Embedding ``[n, 4 * model_channels]`` of noise level, labels and augmentation labels, in
        float32.
        """
        m = self.map_noise(c_noise)
        if not self.family.adm:
            # [sin, cos]: the order the released weights expect
            m = torch.cat(m.chunk(2, dim=1)[::-1], dim=1)
            if self.map_label is not None:
                m = m + self.map_label(labels * math.sqrt(self.label_dim))
        if self.map_augment is not None and augment_labels is not None:
            m = m + self.map_augment(augment_labels)
        m = self.map_layer1(F.silu(self.map_layer0(m)))
        if self.family.adm and self.map_label is not None:
            m = m + self.map_label(labels)
        return F.silu(m)
