"""Frechet distance between two Gaussians fitted to features; "FID" only for Inception features of
50,000 images.
"""

from __future__ import annotations

import math
import warnings

import torch

from bench.metrics._finite import all_finite
from bench.metrics._moments import Moments


def frechet_distance(samples: Moments, reference: Moments) -> float:
    """|m - m_r|^2 + Tr(S + S_r - 2 (S S_r)^(1/2)) (Heusel et al. 2017, Eq. 6).

    The trace of the root is the sum of the roots of the eigenvalues of S_r^(1/2) S S_r^(1/2), which
    is symmetric, so no matrix square root of a non-symmetric product is needed. The root of the
    reference is kept by it: of many distances to one reference, each takes the eigenvalues of one
    matrix.

    Warns:
        UserWarning: fewer samples than features, where the covariance has no full rank.

    """
    if not (samples.has_covariance and reference.has_covariance):
        return math.nan
    count, d = min(samples.count, reference.count), len(samples.total)
    if count <= d:
        warnings.warn(
            f"Frechet distance of {count} samples in {d} features: the covariance has no full rank,"
            " values are biased; take more samples",
            stacklevel=2,
        )
    own = samples.covariance
    product = reference.root @ own @ reference.root
    if not all_finite(product):  # finite moments so large that their product is not
        return math.nan
    # Beyond the rank are zeros; of rounding errors in their place the roots would add up.
    trace_root = (
        torch.linalg.eigvalsh((product + product.T) / 2)[-min(d, count - 1) :]
        .clamp_min(0)
        .sqrt()
        .sum()
    )
    gap = (
        (samples.mean - reference.mean).square().sum()
        + own.trace()
        + reference.covariance.trace()
        - 2 * trace_root
    )
    return max(gap.item(), 0.0)  # rounding may put the distance of equal Gaussians below zero
