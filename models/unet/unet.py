"""One U-Net for three families: DDPM++, NCSN++ (Song et al. 2021), ADM (Dhariwal & Nichol 2021).

A ``Family`` holds their differences; the wiring is shared. Names and shapes of tensors are those
of the released networks, so that released weights load by name.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
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
from models.unet.families import Family


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
        num_blocks: residual blocks per level.
        attn_resolutions: resolutions at which blocks attend.
        dropout: probability in the residual branches.

    Raises:
        ValueError: there is no level, the images cannot be halved that often, or a width cannot
            be group-normed.

    """

    def __init__(
        self,
        family: Family,
        img_resolution: int,
        img_channels: int,
        label_dim: int,
        augment_dim: int,
        *,
        model_channels: int,
        channel_mult: Sequence[int],
        num_blocks: int,
        attn_resolutions: Sequence[int],
        dropout: float,
    ):
        super().__init__()
        _check_levels(img_resolution, channel_mult)
        self.family = family
        self.label_dim = label_dim
        self.img_resolution = img_resolution
        self.img_channels = img_channels
        self._make_mapping(model_channels, label_dim, augment_dim)
        # Finest level first.
        self._widths = [model_channels * mult for mult in channel_mult]
        self._attends = [
            self._side(level) in attn_resolutions for level in range(len(channel_mult))
        ]
        block = {"emb_channels": 4 * model_channels, "style": family.style, "dropout": dropout}
        skips = self._make_encoder(model_channels, num_blocks, block)
        self._make_decoder(skips, num_blocks, block)

    def _side(self, level: int) -> int:
        """Height and width of the images at a level, 0 for the finest."""
        return self.img_resolution >> level

    def _prefix(self, level: int) -> str:
        """Begin the released name of a layer at a level."""
        return f"{self._side(level)}x{self._side(level)}"

    def _make_mapping(self, model_channels: int, label_dim: int, augment_dim: int) -> None:
        """Build the layers that embed noise level, labels and augmentation labels."""
        family = self.family
        init = family.style.init
        emb_channels = 4 * model_channels
        if family.fourier:
            noise_channels = 2 * model_channels
            self.map_noise: nn.Module = FourierEmbedding(noise_channels)
        else:
            noise_channels = model_channels
            self.map_noise = PositionalEmbedding(noise_channels, endpoint=not family.adm)
        self.map_label = None
        self.map_augment = None
        # ADM adds its labels to the finished embedding, the others to its input: other widths.
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
        self, model_channels: int, num_blocks: int, block: dict[str, Any]
    ) -> list[int]:
        """Build ``self.enc``; return the widths of the outputs that the decoder takes, in order.

        Layers draw their initial weights as they are made, so their order is part of a seed.
        """
        style = self.family.style
        self.enc = nn.ModuleDict()
        width = self._widths[0] if self.family.adm else model_channels
        side_width = self.img_channels  # of the input that runs alongside NCSN++'s encoder
        skips = []
        for level, out in enumerate(self._widths):
            prefix = self._prefix(level)
            if level == 0:
                self.enc[f"{prefix}_conv"] = Conv2d(self.img_channels, width, 3, style.init)
            else:
                self.enc[f"{prefix}_down"] = UNetBlock(width, width, down=True, **block)
                if self.family.residual_encoder:
                    self.enc[f"{prefix}_aux_residual"] = Conv2d(
                        side_width,
                        width,
                        3,
                        style.init,
                        down=True,
                        resample_filter=style.resample_filter,
                        fused=True,
                    )
                    side_width = width
            skips.append(width)
            for index in range(num_blocks):
                attention = self._attends[level]
                layer = UNetBlock(width, out, attention=attention, **block)
                self.enc[f"{prefix}_block{index}"] = layer
                width = out
                skips.append(width)
        return skips

    def _make_decoder(self, skips: list[int], num_blocks: int, block: dict[str, Any]) -> None:
        """Build ``self.dec`` and the output layers."""
        self.dec = nn.ModuleDict()
        coarsest = len(self._widths) - 1
        width = self._widths[coarsest]
        for level in range(coarsest, -1, -1):
            out = self._widths[level]
            prefix = self._prefix(level)
            if level == coarsest:
                # The coarsest level attends whatever attn_resolutions says, as in the papers.
                self.dec[f"{prefix}_in0"] = UNetBlock(width, width, attention=True, **block)
                self.dec[f"{prefix}_in1"] = UNetBlock(width, width, **block)
            else:
                self.dec[f"{prefix}_up"] = UNetBlock(width, width, up=True, **block)
            # One block more than in the encoder: its convolution and its down-sampling also
            # leave an output for the decoder.
            for index in range(num_blocks + 1):
                last = index == num_blocks
                attention = self._attends[level] and (self.family.adm or last)
                layer = UNetBlock(width + skips.pop(), out, attention=attention, **block)
                self.dec[f"{prefix}_block{index}"] = layer
                width = out
        self._make_output(width)

    def _make_output(self, width: int) -> None:
        style = self.family.style
        out_norm = GroupNorm(width, style.norm_eps)
        out_conv = Conv2d(width, self.img_channels, 3, style.init_last)
        # Released ADM keeps these layers outside its decoder, the others within.
        if self.family.adm:
            self.out_norm = out_norm
            self.out_conv = out_conv
        else:
            prefix = self._prefix(0)
            self.dec[f"{prefix}_aux_norm"] = out_norm
            self.dec[f"{prefix}_aux_conv"] = out_conv

    def forward(
        self, x: Tensor, c_noise: Tensor, labels: Tensor | None, augment_labels: Tensor | None
    ) -> Tensor:
        """Compute F of x ``[n, c, h, w]`` at c_noise ``[n]``.

        Labels are ``[n | 1, label_dim]``, augment_labels ``[n, a]``.
        """
        # Embedded in float32 and then cast: the noise level keeps its digits until here.
        emb = self._embed(c_noise, labels, augment_labels).to(x.dtype)
        x, skips = self._encode(x, emb)
        x = self._decode(x, skips, emb)
        # The others have their output layers in the decoder.
        if self.family.adm:
            return self.out_conv(F.silu(self.out_norm(x)))
        return x

    def _encode(self, x: Tensor, emb: Tensor) -> tuple[Tensor, list[Tensor]]:
        side = x
        skips: list[Tensor] = []
        for name, layer in self.enc.items():
            if name.endswith("aux_residual"):
                # The sum takes the place of what came before it, for the decoder too.
                side = x = skips[-1] = (x + layer(side)) / math.sqrt(2)
            else:
                x = layer(x, emb) if isinstance(layer, UNetBlock) else layer(x)
                skips.append(x)
        return x, skips

    def _decode(self, x: Tensor, skips: list[Tensor], emb: Tensor) -> Tensor:
        for name, layer in self.dec.items():
            if name.endswith("aux_norm"):
                x = F.silu(layer(x))
            elif name.endswith("aux_conv"):
                x = layer(x)
            elif "_block" in name:
                x = layer(torch.cat([x, skips.pop()], dim=1), emb)
            else:
                x = layer(x, emb)
        return x

    def _embed(
        self, c_noise: Tensor, labels: Tensor | None, augment_labels: Tensor | None
    ) -> Tensor:
        """Embed noise level, labels and augmentation labels: ``[n, 4 model_channels]``, float32."""
        m = self.map_noise(c_noise)
        if not self.family.adm:
            # [sin, cos]: the order the released weights expect.
            m = torch.cat(m.chunk(2, dim=1)[::-1], dim=1)
            if self.map_label is not None:
                # One-hot labels of many classes are mostly 0; the factor restores unit variance.
                m = m + self.map_label(labels * math.sqrt(self.label_dim))
        if self.map_augment is not None and augment_labels is not None:
            m = m + self.map_augment(augment_labels)
        m = self.map_layer1(F.silu(self.map_layer0(m)))
        if self.family.adm and self.map_label is not None:
            m = m + self.map_label(labels)
        return F.silu(m)


def _check_levels(img_resolution: int, channel_mult: Sequence[int]) -> None:
    if not channel_mult:
        raise ValueError("channel_mult needs at least one number, such as 1")
    halvings = len(channel_mult) - 1
    if img_resolution % 2**halvings:
        raise ValueError(
            f"{img_resolution} x {img_resolution} pixels cannot be halved {halvings} times: give "
            "fewer levels, such as --channel-mult 1"
        )
