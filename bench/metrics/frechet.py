"""Frechet distance between two Gaussians fitted to features; "FID" only for Inception features of 50,000 images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Moments:
    """Streaming count, sum and outer-product sum of features, in float64; memory does not grow with the count."""

    count: int
    total: Tensor  # [d]
    outer: Tensor  # [d, d]

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Moments of features ``[n, d]``."""
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
        """Unbiased, ``[d, d]``."""
        return (self.outer - self.count * self.mean.outer(self.mean)) / (self.count - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Heusel et al. 2017, Eq. 6).

    The trace of the root is the sum of the roots of the eigenvalues of S_a^(1/2) S_b S_a^(1/2), which is symmetric, so
    no matrix square root of a non-symmetric product is needed.

    Warns:
        UserWarning: fewer samples than features, where the covariance has no full rank.

    """
    d = len(a.total)
    if min(a.count, b.count) <= d:
        warnings.warn(
            f"Frechet distance of {min(a.count, b.count)} samples in {d} features: the covariance has no full rank, "
            "values are biased; take more samples",
            stacklevel=2,
        )
    values, vectors = torch.linalg.eigh(a.covariance)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    product = root @ b.covariance @ root
    trace_root = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt().sum()
    gap = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * trace_root
    return max(gap.item(), 0.0)  # rounding may put the distance of equal Gaussians below zero
