"""Points in the plane at the scales of published experiments.

A point is an image of two channels and one pixel. Every set here is drawn once from a fixed seed:
the points are the data, not a draw of the run.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from bench.data.contract import Dataset, Split

SHAPE = (2, 1, 1)
CENTRES = 8
# Points of each split of a published set of fixed size.
COUNT = 10_000
# Training points of a set that its authors draw anew for every batch: each one occurs about ten
# times in 20,000 batches of 256, which no small network can learn by heart.
MANY = 500_000


def circle_of_gaussians(count: int, radius: float, std: float, seed: int) -> tuple[Tensor, Tensor]:
    """Draw from eight equal Gaussians on a circle around 0.

    Args:
        count: number of points.
        radius: of the circle.
        std: of each Gaussian, in each coordinate.
        seed: of the draw.

    Returns:
        points ``[n, 2]`` float64, and the Gaussian of each, ``[n]`` int64.

    """
    # In float64, so that the points are alike on all machines before they are rounded.
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CENTRES, (count,), generator=generator)
    angle = labels.double() * (2 * math.pi / CENTRES)
    centres = radius * torch.stack([angle.cos(), angle.sin()], dim=1)
    noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return centres + std * noise, labels


def half_circles(count: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Draw from two interleaved half circles, as torchdyn 1.0.6 does (``generate_moons``).

    The outer one is (cos a, sin a), the inner one (1 - cos a, 1/2 - sin a), both at evenly spaced
    angles a in [0, pi], in random order. A uniform number from [0, noise) is added to both
    coordinates of a point: it shifts along the diagonal only.

    Args:
        count: number of points, half of them on each circle.
        noise: largest shift.
        seed: of the draw.

    Returns:
        points ``[n, 2]`` float64, and the half circle of each, ``[n]`` int64.

    """
    generator = torch.Generator().manual_seed(seed)
    outer = count // 2
    angle = torch.cat([_angles(outer), _angles(count - outer)])
    labels = (torch.arange(count) >= outer).long()
    moons = torch.stack([angle.cos(), angle.sin()], dim=1)
    mirrored = torch.tensor([1.0, 0.5], dtype=torch.float64) - moons
    points = torch.where(labels[:, None] == 0, moons, mirrored)
    points = points + noise * torch.rand(count, 1, generator=generator, dtype=torch.float64)
    order = torch.randperm(count, generator=generator)
    return points[order], labels[order]


def sklearn_moons(count: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Draw scikit-learn's two moons; points ``[n, 2]`` float64 and the moon ``[n]`` int64."""
    # Imported late: it takes a second, and most commands need no such set.
    from sklearn.datasets import make_moons

    points, labels = make_moons(count, noise=noise, random_state=seed)
    return torch.from_numpy(points), torch.from_numpy(labels.astype(np.int64))


def sklearn_s_curve(count: int, noise: float, seed: int) -> Tensor:
    """Draw scikit-learn's S curve, seen from the side: its coordinates 0 and 2, ``[n, 2]``."""
    from sklearn.datasets import make_s_curve

    points, _ = make_s_curve(count, noise=noise, random_state=seed)
    # The coordinate between them is the uniform width of the sheet.
    return torch.from_numpy(points[:, [0, 2]])


def dataset(
    name: str,
    points: Tensor,
    labels: Tensor,
    classes: int,
    held_out: int,
    validation: tuple[Tensor, Tensor] | None = None,
) -> Dataset:
    """Make a data set of points: the last ``held_out`` are the test split.

    Args:
        name: of the data set.
        points: ``[n, 2]``, in random order.
        labels: ``[n]`` int64.
        classes: number of classes.
        held_out: number of test points.
        validation: points and labels of a split to select weights by.

    """
    images = _as_images(points)
    cut = len(images) - held_out
    train = Split(images[:cut], labels[:cut])
    test = Split(images[cut:], labels[cut:])
    # Points have no bounds: nothing is cut at -1 and 1.
    selection = None
    if validation is not None:
        selection = Split(_as_images(validation[0]), validation[1])
    return Dataset(name, train, test, num_classes=classes, bounded=False, validation=selection)


def _as_images(points: Tensor) -> Tensor:
    return points.float().reshape(-1, *SHAPE)


def _angles(count: int) -> Tensor:
    """Evenly spaced angles from 0 to pi."""
    return torch.linspace(0, math.pi, count, dtype=torch.float64)
