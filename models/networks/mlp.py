"""A multi-layer perceptron, for points in the plane and other vectors.

At its defaults, with two coordinates, it is the network of Tong et al. 2024 (TMLR) for points in
the plane: three hidden layers of 64, SELU, 8,706 parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.networks._perceptron import Activation, Linear, Perceptron, activation


class MLP(Perceptron):
    """Hidden layers of one width on the noise condition, the image and the labels, concatenated.

    Args:
        img_resolution: height and width of the images.
        img_channels: channels of the images.
        label_dim: length of the condition; 0 for none.
        augment_dim: number of augmentation labels; 0 for none.
        width: units of each hidden layer.
        depth: number of hidden layers.
        activation_name: of the function between the layers.

    Raises:
        ValueError: no hidden layer or no unit.

    """

    def __init__(
        self,
        img_resolution: int,
        img_channels: int,
        label_dim: int,
        augment_dim: int,
        *,
        width: int,
        depth: int,
        activation_name: Activation,
    ):
        super().__init__(img_resolution, img_channels, label_dim, augment_dim)
        if width < 1 or depth < 1:
            raise ValueError(f"mlp: width and depth must be 1 or more, got {width} and {depth}")
        # In this order, or the same seed would draw other initial weights.
        layers: list[nn.Module] = []
        inputs = 1 + self.values + self.condition_dim
        for _ in range(depth):
            layers += [Linear(inputs, width), activation(activation_name)]
            inputs = width  # of the next layer
        self.layers = nn.Sequential(*layers, Linear(width, self.values))

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """F of x ``[n, c, h, w]`` at c_noise ``[n]``: raw output ``[n, c, h, w]``."""
        # c_noise comes in float32, the image perhaps in bfloat16.
        conditions = self.condition(x, labels, augment_labels)
        given = torch.cat([c_noise.to(x.dtype)[:, None], x.flatten(1), *conditions], dim=1)
        return self.layers(given).reshape(x.shape)


def build(
    img_resolution: int = 1,
    img_channels: int = 2,
    label_dim: int = 0,
    augment_dim: int = 0,
    *,
    width: int = 64,
    depth: int = 3,
    activation: Activation = "selu",
) -> MLP:
    """Build the raw network F, 8,706 parameters at the defaults.

    Options and errors are those of ``MLP``.
    """
    # The class has another name for it: there, `activation` is the function that builds the layer.
    sizes = (img_resolution, img_channels, label_dim, augment_dim)
    return MLP(*sizes, width=width, depth=depth, activation_name=activation)
