"""The training objective: how a raw network becomes a denoiser, and what it is trained on.

Every objective here is a row of Karras et al. 2022, Table 1: four coefficients that turn the raw
network F into D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), a loss weight, and a distribution
of noise levels. All of them estimate the same D, so samplers and metrics need not know which one
a network was trained with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

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

    A field called ``P_mean``, ``P_std`` or ``sigma_data`` is set from the configuration of the
    training.

    Attributes:
        natural_schedule: the schedule that networks of this objective are sampled along by default,
            one of ``models.schedules``.
        at_pure_noise: True if the network can be evaluated at t = 1, where sigma is infinite.
        path_sigma: standard deviation of Gaussian noise that is added to the path in training.

    """

    natural_schedule: ClassVar[str] = "karras"
    at_pure_noise: ClassVar[bool] = False
    path_sigma: float = 0.0

    @abstractmethod
    def coefficients(self, sigma: Tensor) -> Coefficients:
        """Compute the preconditioning at sigma ``[n]``, float32."""

    def flow_coefficients(self, t: Tensor) -> Coefficients:
        """Compute the preconditioning at times t ``[n]`` of flow matching, for a state z.

        The state of the straight path is z = x / (1 + sigma) at t = sigma / (1 + sigma), so that
        D = skip z + out F(into z; noise). Time must be below 1 unless ``at_pure_noise``.
        """
        # x = (1 + sigma) z = z / (1 - t), so this factor moves from x to z.
        scale = 1 / (1 - t)
        skip, out, into, noise = self.coefficients(t * scale)
        return Coefficients(skip * scale, out, into * scale, noise)

    @abstractmethod
    def weight(self, sigma: Tensor) -> Tensor:
        """Compute the loss weight lambda(sigma), of the shape of sigma."""

    @abstractmethod
    def draw_sigma(self, n: int, generator: torch.Generator, device: str = "cpu") -> Tensor:
        """Draw n noise levels ``[n]``, float32, from the generator; they end up on ``device``.

        Every sample has a level of its own: draw n numbers, so that parts of a batch are found
        again as rows of the whole.
        """

    def target(self, images: Tensor, noise: Tensor, path_noise: Tensor | None = None) -> Tensor:
        """Compute the images ``[n, c, h, w]`` that the denoiser is trained to return.

        Arguments as in ``loss``.
        """
        if path_noise is None:
            return images
        return images + self.path_sigma * path_noise

    def loss(
        self,
        net: Callable[..., Tensor],
        images: Tensor,
        noise: Tensor,
        sigma: Tensor,
        labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
        path_noise: Tensor | None = None,
        weights: Tensor | None = None,
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
            path_noise: unit noise ``[n, c, h, w]`` that ``path_sigma`` scales; None without.
            weights: ``[n]``, of the pairs, from couplings that weigh losses; None without.

        Returns:
            a scalar.

        """
        # One level per image, the same for all of its pixels.
        level = sigma[:, None, None, None]
        weight = self.weight(level)
        if weights is not None:
            weight = weight * weights[:, None, None, None]
        target = self.target(images, noise, path_noise)
        if path_noise is not None:
            # Added to z. Both ends of the path move with it, so that the velocity stays n - y.
            noise = noise + self.path_sigma * path_noise
        denoised = net(target + level * noise, sigma, labels, augment_labels)
        return (weight * (denoised - target) ** 2).sum() / len(images)
