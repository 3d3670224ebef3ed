"""ADM (Dhariwal & Nichol 2021) as in Karras et al. 2022, Table 7."""

from __future__ import annotations

from typing import Any

from models.unet.families import ADM
from models.unet.unet import UNet

# Karras et al. 2022, Table 7, for ImageNet-64.
DEFAULTS: dict[str, Any] = {
    "model_channels": 192,
    "channel_mult": (1, 2, 3, 4),
    "num_blocks": 3,
    "attn_resolutions": (32, 16, 8),
    "dropout": 0.10,
}


def build(
    img_resolution: int = 64,
    img_channels: int = 3,
    label_dim: int = 1000,
    augment_dim: int = 0,
    **options: Any,
) -> UNet:
    """Build the raw network F of ADM: 295.9 M parameters at the defaults, those of ImageNet-64.

    Options and errors are those of ``UNet``.
    """
    sizes = (img_resolution, img_channels, label_dim, augment_dim)
    return UNet(ADM, *sizes, **(DEFAULTS | options))
