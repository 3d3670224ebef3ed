"""Classifier-free guidance: a conditional denoiser, moved further away from the unconditional one.

Ho and Salimans 2022, arXiv 2207.12598, Eq. 6. Weights are those of D_w below: 1 is the conditional
denoiser and 0 the unconditional one. In the paper, weight 0 is the conditional one.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from models.ode import Denoise, at_time

Given = Callable[[Tensor | None], Tensor]
"""The denoiser at one point, as a function of the labels."""


def network_evaluations(weight: float) -> int:
    """Count the evaluations of the network that one of D_w takes: 2, or 1 at weights 0 and 1."""
    return 1 if weight in (0, 1) else 2


class ClassifierFree:
    """D_w(x; sigma, c) = D(x; sigma) + w (D(x; sigma, c) - D(x; sigma)).

    One network gives both denoisers, if it was trained with labels dropped at random. The guided
    velocity follows the same formula in both coordinates: the slope (state - D) / time is affine in
    D, and the weights of the two denoisers, 1 - w and w, sum to 1.

    Args:
        denoise: the conditional denoiser; without labels, the unconditional one.
        weight: w, any finite number.

    """

    def __init__(self, denoise: Denoise, weight: float):
        self.denoise = denoise
        self.weight = weight

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        """Denoise x ``[n, ...]`` with labels ``[n, label_dim]``."""
        return self._guided(lambda given: self.denoise(x, sigma, given), labels)

    def at_time(self, z: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Denoise in the coordinates of flow matching."""
        return self._guided(lambda given: at_time(self.denoise, z, t, given), labels)

    def _guided(self, denoised: Given, labels: Tensor | None) -> Tensor:
        # The formula would double the cost here, and rounding would change the last digits.
        if self.weight == 1:
            return denoised(labels)
        without = denoised(None)
        if self.weight == 0:
            return without
        return without + self.weight * (denoised(labels) - without)
