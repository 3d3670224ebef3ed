"""Noise of the gradient of the training loss at fixed weights (McCandlish et al. 2018, arXiv
1812.06162).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GradientNoise:
    """Estimates, each unbiased: ``signal`` may be negative where it drowns in the noise.

    Attributes:
        variance: tr(Sigma), Sigma the covariance of the gradient of one pair.
        signal: |G|^2, G the expected gradient.

    """

    variance: float
    signal: float

    @property
    def scale(self) -> float:
        """B_simple = tr(Sigma) / |G|^2, the batch whose noise equals its signal (Eq. 2.9); NaN
        without a signal.

        A ratio of unbiased estimates, so consistent, not unbiased.
        """
        return self.variance / self.signal if self.signal > 0 else math.nan


def gradient_noise(gradients: Iterable[Tensor], batch: int) -> GradientNoise:
    """From the mean gradients ``[p]`` of two or more independent batches of ``batch`` pairs; keeps
    one vector of p.

    The spread of the batches' gradients g_k about their mean m over K batches gives the covariance
    C of a batch, tr(C) = sum |g_k - m|^2 / (K - 1), and |G|^2 = |m|^2 - tr(C) / K. tr(Sigma) =
    batch tr(C): that of a pair if the pairs of a batch are independent. Pairs of one pool are not
    quite; it is then the noise of such a batch, times its size. Batches must not share a pool.

    Raises:
        ValueError: fewer than two batches, which have no spread.

    """
    total = None
    squares = 0.0
    count = 0
    for gradient in gradients:
        # In place: a gradient may take as much memory as the network.
        total = gradient.clone() if total is None else total.add_(gradient)
        squares += _square(gradient)
        count += 1
    if count < 2:
        raise ValueError(f"gradient noise of {count} batches: take at least two")
    # |sum of g_k|^2 / K^2 is |m|^2 and takes no second vector for m.
    mean = _square(total) / count**2
    spread = squares - count * mean
    # Rounding may leave equal gradients a spread below 0. `max` would turn NaN into 0.
    covariance = (0.0 if spread < 0 else spread) / (count - 1)
    # |m|^2 alone is too large by the noise of the mean, tr(C) / K.
    return GradientNoise(batch * covariance, mean - covariance / count)


def _square(vector: Tensor) -> float:
    # A float32 sum over millions of weights loses digits, and the spread is a difference of such
    # sums.
    return torch.linalg.vector_norm(vector, dtype=torch.float64).item() ** 2
