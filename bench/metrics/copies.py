"""Copies of training images: are samples nearer to the training set than images are that nobody trained on?

Distances alone mean nothing, as they depend on data and features. So held-out real images are the measure: a model that
has learnt the distribution lies as near to the training set as they do.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

QUANTILE = 0.05  # share of the held-out images that counts as copies: what chance alone gives


def nearest(x: Tensor, reference: Iterable[Tensor]) -> Tensor:
    """Distance ``[n]`` from each row of x ``[n, d]`` to its nearest reference; these come in chunks ``[., d]``."""
    found = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
    for chunk in reference:
        torch.minimum(found, torch.cdist(x, chunk.to(x.device)).amin(1), out=found)
    return found


def copy_rate(generated: Tensor, held_out: Tensor, quantile: float = QUANTILE) -> float:
    """Share of samples nearer to the training set than all but a quantile of the held-out images (this project's own).

    Both are distances to the nearest training image, ``[n]`` and ``[m]``. Samples as good as held-out images give the
    quantile, copies give 1, samples far from all images give 0. In the spirit of the nearest-neighbour test of Meehan,
    Chaudhuri & Dasgupta 2020, which compares the same two sets of distances.
    """
    return (generated < torch.quantile(held_out, quantile)).double().mean().item()


def copy_distance(generated: Tensor, held_out: Tensor) -> float:
    """Ratio of the median distances ``[n]`` and ``[m]`` to the nearest training image.

    1 is as near as held-out images are, below is nearer, 0 is a copy. Not finite where these are copies themselves.
    """
    return (generated.double().median() / held_out.double().median()).item()
