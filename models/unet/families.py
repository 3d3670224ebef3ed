"""The three families of U-Nets, as Karras et al. 2022 arrange them (Table 7, App. F.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from models.unet.blocks import BlockStyle, Init


@dataclass(frozen=True)
class Family:
    """Differences between one family of U-Nets and the others.

    Attributes:
        style: of its residual blocks.
        fourier: random Fourier features embed the noise level (NCSN++), else sines and cosines.
        residual_encoder: the down-sampled input is added to the encoder at every level (NCSN++).
        adm: ADM's order of the embedding's layers, widths, attention in all decoder blocks, and
            names of the output layers.

    """

    style: BlockStyle
    fourier: bool = False
    residual_encoder: bool = False
    adm: bool = False


# DDPM++ and NCSN++ (Song et al. 2021) have all but the resampling filter in common. Last layers
# begin near 0, so that every block begins as its skip connection.
_SONG: dict[str, Any] = {
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
# The binomial filter (1, 3, 3, 1) is smoother than DDPM++'s box.
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
        # Exactly 0, not nearly: a new network returns 0.
        init_last=Init("kaiming_uniform", weight=0.0),
        init_attention=_ADM_INIT,
    ),
    adm=True,
)
