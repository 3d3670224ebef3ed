"""The training objective: how a raw network becomes a denoiser, and what it is trained on.

Every objective here is a row of Karras et al. 2022, Table 1: four coefficients that turn the raw
network F into D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), a loss weight, and a distribution
of noise levels. All of them estimate the same D, so samplers and metrics need not know which one
a network was trained with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from models.naming import Named


class Coefficients(NamedTuple):
    """The preconditioning at noise levels sigma ``[n]``: four tensors ``[n]`` (Table 1).

    Attributes:
        skip: share of the input in the output, c_skip.
        out: scale of the raw network's output, c_out.
        into: scale of the raw network's input, c_in.
        noise: noise condition that the raw network gets, c_noise.

    """

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


class Objective(Named, ABC):
    """Base of objectives: a frozen dataclass whose fields are its options.

    A field called ``P_mean`` or ``P_std`` is set from the configuration of the training.
    """

    @abstractmethod
    def coefficients(self, sigma: Tensor) -> Coefficients:
        """Compute the preconditioning at sigma ``[n]``, float32."""

    @abstractmethod
    def weight(self, sigma: Tensor) -> Tensor:
        """Compute the loss weight lambda(sigma), of the shape of sigma."""

    @abstractmethod
    def draw_sigma(self, n: int, generator: torch.Generator, device: str = "cpu") -> Tensor:
        """Draw n noise levels ``[n]``, float32, from the generator; they end up on ``device``.

        Every sample has a level of its own: draw n numbers, so that parts of a batch are found
        again as rows of the whole.
        """

    def loss(
        self,
        net: Callable[..., Tensor],
        images: Tensor,
        noise: Tensor,
        sigma: Tensor,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """Compute the weighted denoising error, summed over pixels and averaged over the batch.

        Karras et al. 2022, Eq. 8. The noise is paired with the images before: a coupling changes
        which noise an image gets, never this formula.

        Args:
            net: the denoiser D, called as ``net(x, sigma, labels, augment_labels)``.
            images: ``[n, c, h, w]``.
            noise: unit noise ``[n, c, h, w]``.
            sigma: noise levels ``[n]``.
            labels: one-hot ``[n, label_dim]`` or None.
            augment_labels: ``[n, a]`` or None.

        Returns:
            a scalar.

        """
        # One level per image, the same for all of its pixels.
        level = sigma[:, None, None, None]
        denoised = net(images + level * noise, sigma, labels, augment_labels)
        return (self.weight(level) * (denoised - images) ** 2).sum() / len(images)
