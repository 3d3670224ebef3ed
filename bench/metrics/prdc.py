"""Precision, recall, density, coverage: fidelity and diversity by balls of neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bench.metrics._finite import all_finite
from bench.metrics._first import FirstSamples, K, has_neighbours
from bench.metrics.contract import FeatureSpace, Values
from bench.record.infos import Info

_ROWS = 1000  # distances [rows, n] are taken for so many rows at a time


_share_of = partial(Info, better="higher", figure=False)


class Neighbours(FirstSamples):
    """Precision, recall, density and coverage of the first samples for each split."""

    infos = (
        _share_of(
            "precision",
            "Share of samples that lie among real images: fidelity.",
            title="Precision",
            place=150,
        ),
        _share_of(
            "recall",
            "Share of real images that lie among the samples: diversity.",
            title="Recall",
            place=151,
        ),
        _share_of(
            "coverage",
            "Share of real images with a sample nearby.",
            title="Coverage",
            place=152,
        ),
        Info(
            "density",
            "How densely real images lie around the samples. Equal distributions give 1; more can"
            " mean that samples crowd at the most common images, so neither higher nor lower is"
            " better.",
            figure=False,
            title="Density",
            place=153,
        ),
    )

    @classmethod
    def suits(cls, space: FeatureSpace, n: int) -> bool:
        """True where neighbours mean something, see ``has_neighbours``."""
        return has_neighbours(space, n)

    def compute(self) -> Values:
        """All four for both splits."""
        values: Values = {}
        for split, real in self.space.some.items():
            four = prdc(real, self.samples)
            for info in self.infos:
                values[info.name, split] = getattr(four, info.name)
        return values


@dataclass(frozen=True)
class PRDC:
    """Shares in [0, 1], except the density, which is 1 on average for equal distributions."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Tensor, generated: Tensor, k: int = K) -> PRDC:
    """Samples ``[m, d]`` in the balls around real ones ``[n, d]``, and the reverse.

    The ball of a sample ends at its k-th nearest neighbour of its own set. Precision: share of
    generated samples in any real ball; recall: share of real samples in any generated ball
    (Kynkaanniemi et al. 2019, Eq. 1-2). Density: real balls around a generated sample, over k, on
    average; coverage: share of real balls with a generated sample in them (Naeem et al. 2020, Sec.
    3). All depend on n and m.

    Distances are float64 and taken from differences, so that equal ones count as equal. NaN where a
    feature is not finite.

    Raises:
        ValueError: k or fewer samples on a side, which have no k-th neighbour.

    """
    if min(len(real), len(generated)) <= k:
        raise ValueError(
            f"{len(real)} real and {len(generated)} generated samples: take more than k = {k} of"
            " each"
        )
    if not all_finite(real, generated):
        return PRDC(math.nan, math.nan, math.nan, math.nan)
    real = real.double()
    generated = generated.double()
    real_radius = radii(real, k)
    generated_radius = radii(generated, k)
    # Real balls around each generated sample
    balls = torch.zeros(len(generated), dtype=torch.int64, device=real.device)
    recalled = []
    covered = []
    # Some rows at a time: all distances of 10,000 and 10,000 samples would take 800 MB.
    for rows in range(0, len(real), _ROWS):
        distance = _distances(real[rows : rows + _ROWS], generated)  # [rows, m]
        # Balls include their surface: where k duplicates leave a radius of 0, a copy still counts.
        inside = distance <= real_radius[rows : rows + _ROWS, None]
        balls += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append((distance <= generated_radius).any(1))
    return PRDC(
        precision=_share(balls > 0),
        recall=_share(torch.cat(recalled)),
        density=balls.double().mean().item() / k,
        coverage=_share(torch.cat(covered)),
    )


def radii(x: Tensor, k: int) -> Tensor:
    """Distance ``[n]`` from each row of ``[n, d]`` to its k-th nearest other row; at its own place
    lies the 0-th.
    """
    return torch.cat([_distances(rows, x).kthvalue(k + 1, dim=1).values for rows in x.split(_ROWS)])


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """``[n, m]``, without the matrix product: by its rounding a sample may lie just outside the
    ball of its copy.
    """
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _share(found: Tensor) -> float:
    return found.double().mean().item()
