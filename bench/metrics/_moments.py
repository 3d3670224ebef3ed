"""Mean and covariance of features, gathered chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bench.metrics._finite import all_finite


@dataclass(frozen=True)
class Moments:
    """Streaming count, sum and outer-product sum of features, in float64; memory does not grow with
    the count.
    """

    count: int
    total: Tensor  # [d]
    outer: Tensor  # [d, d]

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Moments of features ``[n, d]``."""
        # In float32 the sums over 50,000 samples would lose the small eigenvalues of the
        # covariance.
        x = features.double()
        return cls(len(x), x.sum(0), x.T @ x)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.outer + other.outer)

    @property
    def mean(self) -> Tensor:
        """``[d]``."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """Unbiased, ``[d, d]``; of fewer than two samples there is none."""
        # The mean is known only after the last chunk, so the sums are centred, not the features.
        return (self.outer - self.count * self.mean.outer(self.mean)) / (self.count - 1)

    @cached_property
    def has_covariance(self) -> bool:
        """True if there are samples enough for a covariance, and all of them are finite."""
        # One value that is not finite makes the sums not finite: no sample need be looked at again.
        return self.count > 1 and all_finite(self.total, self.outer)

    @cached_property
    def root(self) -> Tensor:
        """The symmetric square root of the covariance, ``[d, d]``."""
        # Kept, because it takes longer than everything else in a Frechet distance.
        values, vectors = torch.linalg.eigh(self.covariance)
        # Rounding may put eigenvalues of 0 slightly below.
        return vectors * values.clamp_min(0).sqrt() @ vectors.T
