"""A small DDPM++, for images of 1 to 32 pixels on a laptop."""

from __future__ import annotations

from typing import Any

from models.unet.families import DDPMPP
from models.unet.unet import UNet

# A laptop trains it in minutes: no attention, no dropout.
DEFAULTS: dict[str, Any] = {
    "model_channels": 32,
    "channel_mult": (1, 2),
    "num_blocks": 1,
    "attn_resolutions": (),
    "dropout": 0.0,
}


def build(
    img_resolution: int = 8,
    img_channels: int = 1,
    label_dim: int = 0,
    augment_dim: int = 0,
    **options: Any,
) -> UNet:
    """Build the raw network F of small DDPM++: a few hundred thousand parameters at the defaults.

    Options and errors are those of ``UNet``.
    """
    sizes = (img_resolution, img_channels, label_dim, augment_dim)
    return UNet(DDPMPP, *sizes, **(DEFAULTS | options))
