"""The network that fits the images: a perceptron for vectors, else as many levels as halve them."""

from __future__ import annotations

from typing import Any

from torch import nn

from models.networks import mlp, small

SMALLEST = 4  # pixels a side of the coarsest level
LEAST_WIDTH = 64  # of the perceptron


def build(
    img_resolution: int = 8,
    img_channels: int = 1,
    label_dim: int = 0,
    augment_dim: int = 0,
    **options: Any,
) -> nn.Module:
    """Build the raw network F for images of any size.

    Images of one pixel are vectors: they get ``mlp``, four times as wide as ``model_channels``.
    Others get ``small`` without the coarse levels of ``channel_mult`` that their size has no room
    for: each level halves it, which an odd size does not allow.

    Options and errors are those of ``UNet``.
    """
    sizes = (img_resolution, img_channels, label_dim, augment_dim)
    options = small.DEFAULTS | options
    if img_resolution == 1:
        width = max(LEAST_WIDTH, 4 * options["model_channels"])
        return mlp.build(*sizes, width=width)
    options["channel_mult"] = options["channel_mult"][: levels(img_resolution)]
    return small.build(*sizes, **options)


def levels(resolution: int) -> int:
    """Number of levels that a resolution has room for, its own included."""
    count = 1
    while resolution % 2 == 0 and resolution // 2 >= SMALLEST:
        resolution //= 2
        count += 1
    return count
