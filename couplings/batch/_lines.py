"""Projections of images and noise on random lines, which the sliced couplings sort by."""

import torch
from torch import Tensor

from couplings.contract import Pool, require
from couplings.cost import blocks, common_scale, pair_distances

# Elements of a block that is copied to float64.
BLOCK = 2**22


def random_lines(pool: Pool, count: int, name: str) -> Tensor:
    """Directions `[d, count]` float64, uniform up to their lengths.

    Raises:
        CouplingError: the pool has no generator.

    """
    generator = pool.generator
    require(
        generator is not None,
        f"{name} draws directions: pass generator=torch.Generator().manual_seed(seed)",
    )
    d = pool.images.shape[1]
    return torch.randn(
        d, count, generator=generator, dtype=torch.float64, device=generator.device
    ).to(pool.images.device)


def projections(points: Tensor, lines: Tensor) -> Tensor:
    """<x_i, line_k> `[n, count]` float64, without a copy of all points `[n, d]`."""
    # Rounding to float32 would order near points by chance.
    return torch.cat([points[rows].double() @ lines for rows in blocks(points.shape, BLOCK)])


def pair_costs(pool: Pool, index: Tensor) -> Tensor:
    """Squared distances `[n]` float64 of the pairs, in units common to all pairings of the pool."""
    scale = common_scale(pool.images, pool.noise)
    return pair_distances(pool.images, pool.noise, index, scale).square()
