"""NCSN++ (Song et al. 2021) as in Karras et al. 2022, Table 7."""

from __future__ import annotations

from typing import Any

from models.unet.families import NCSNPP
from models.unet.unet import UNet

# Karras et al. 2022, Table 7, for CIFAR-10.
DEFAULTS: dict[str, Any] = {
    "model_channels": 128,
    "channel_mult": (2, 2, 2),
    "num_blocks": 4,
    "attn_resolutions": (16,),
    "dropout": 0.13,
}


def build(
    img_resolution: int = 32,
    img_channels: int = 3,
    label_dim: int = 0,
    augment_dim: int = 9,
    **options: Any,
) -> UNet:
    """Build the raw network F of NCSN++: 56.40 M parameters at the defaults, those of CIFAR-10.

    Options and errors are those of ``UNet``.
    """
    sizes = (img_resolution, img_channels, label_dim, augment_dim)
    return UNet(NCSNPP, *sizes, **(DEFAULTS | options))
