"""A residual perceptron, for points in the plane and other vectors.

At its defaults, with two coordinates, it is the network of Cheng and Schwing 2025 (arXiv
2503.10636, Fig. 1): width 128, three residual blocks 128-512-128, about 396,000 parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.networks._perceptron import Activation, Linear, Perceptron, activation


class ResidualMLP(Perceptron):
    """Residual blocks on the sum of linear embeddings of image, noise condition and labels.

    Args:
        img_resolution: height and width of the images.
        img_channels: channels of the images.
        label_dim: length of the condition; 0 for none.
        augment_dim: number of augmentation labels; 0 for none.
        width: length of the vector that the blocks add to.
        depth: number of blocks.
        expansion: hidden units of a block as a multiple of the width.
        activation_name: of the function in the middle of each block.

    Raises:
        ValueError: no block or no unit.

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
        expansion: int,
        activation_name: Activation,
    ):
        super().__init__(img_resolution, img_channels, label_dim, augment_dim)
        if min(width, depth, expansion) < 1:
            raise ValueError(
                "residual-mlp: width, depth and expansion must be 1 or more, got"
                f" {width}, {depth} and {expansion}"
            )
        self.embed_image = Linear(self.values, width)
        self.embed_noise = Linear(1, width)  # linear, not sinusoidal, as published
        # A layer without inputs would still have a bias, which an unconditional network lacks.
        dims = [dim for dim in (label_dim, augment_dim) if dim]
        self.embed_condition = nn.ModuleList(Linear(dim, width) for dim in dims)
        # In this order, or the same seed would draw other initial weights.
        blocks = []
        for _ in range(depth):
            inner = [Linear(width, expansion * width), activation(activation_name)]
            blocks.append(nn.Sequential(*inner, Linear(expansion * width, width)))
        self.blocks = nn.ModuleList(blocks)
        self.last = Linear(width, self.values)

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """F of x ``[n, c, h, w]`` at c_noise ``[n]``: raw output ``[n, c, h, w]``."""
        hidden = self.embed_image(x.flatten(1)) + self.embed_noise(c_noise.to(x.dtype)[:, None])
        conditions = self.condition(x, labels, augment_labels)
        for embed, value in zip(self.embed_condition, conditions, strict=True):
            hidden = hidden + embed(value)
        # No normalisation, as published.
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.last(hidden).reshape(x.shape)


def build(
    img_resolution: int = 1,
    img_channels: int = 2,
    label_dim: int = 0,
    augment_dim: int = 0,
    *,
    width: int = 128,
    depth: int = 3,
    expansion: int = 4,
    activation: Activation = "gelu",
) -> ResidualMLP:
    """Build the raw network F, 396,034 parameters at the defaults.

    Options and errors are those of ``ResidualMLP``.
    """
    return ResidualMLP(
        img_resolution,
        img_channels,
        label_dim,
        augment_dim,
        width=width,
        depth=depth,
        expansion=expansion,
        activation_name=activation,
    )
