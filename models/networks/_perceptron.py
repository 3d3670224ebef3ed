"""Parts that the perceptrons share: layers that follow the dtype of their input, and inputs."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Literal["selu", "silu", "gelu", "relu", "tanh"]


def activation(name: Activation) -> nn.Module:
    """Build the layer of an activation."""
    # Classes, not layers: only the one that is asked for is built.
    layers = {"selu": nn.SELU, "silu": nn.SiLU, "gelu": nn.GELU, "relu": nn.ReLU, "tanh": nn.Tanh}
    return layers[name]()


class Linear(nn.Linear):
    """PyTorch's linear layer with its default initialisation, computed in the dtype of the input.

    Weights are kept in float32; the input may be bfloat16.
    """

    def __init__(self, inputs: int, outputs: int):
        # Float32 whatever the default dtype: numbers drawn in float64 are others.
        super().__init__(inputs, outputs, dtype=torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[n, inputs]`` to ``[n, outputs]``."""
        # Weights follow the input, or bfloat16 times float32 would be an error.
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class Perceptron(nn.Module):
    """Base of networks that take an image as the vector of its values.

    Args:
        img_resolution: height and width of the images; 1 for points.
        img_channels: channels of the images; the coordinates of points.
        label_dim: length of the condition; 0 for an unconditional network.
        augment_dim: number of augmentation labels; 0 for none.

    """

    def __init__(self, img_resolution: int, img_channels: int, label_dim: int, augment_dim: int):
        super().__init__()
        # Names that users of the U-Nets read, too.
        self.img_resolution = img_resolution
        self.img_channels = img_channels
        self.label_dim = label_dim
        self.augment_dim = augment_dim
        self.values = img_channels * img_resolution**2  # numbers in an image

    @property
    def condition_dim(self) -> int:
        """Length of labels and augmentation labels together."""
        return self.label_dim + self.augment_dim

    def condition(
        self, x: Tensor, labels: Tensor | None, augment_labels: Tensor | None
    ) -> list[Tensor]:
        """Collect labels and augmentation labels, each ``[n, .]`` in the dtype of x.

        Absent ones are zeros: an absent class, and an image that was not augmented.
        """
        # In one order, whichever of them are there.
        given = []
        dims = (self.label_dim, self.augment_dim)
        for value, dim in zip((labels, augment_labels), dims, strict=True):
            if dim:
                row = x.new_zeros(1, dim) if value is None else value.to(x.dtype)
                # The denoiser passes one row for all if there are no labels.
                given.append(row.expand(len(x), -1))
        return given
