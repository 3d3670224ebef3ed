"""The semi-dual of semi-discrete optimal transport from N(0, I) to weighted points.

For targets y_j with weights v_j and the cost -<x, y> the Brenier potential is u(x) = max_j <x, y_j>
+ h_j, and h minimises the convex E(h) = E u(x) - sum_j v_j h_j, whose gradient is the mass of each
cell less its weight (Aurenhammer et al. 1998).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from couplings._streams import stream
from couplings.dataset._winners import winners


@dataclass(eq=False)
class Semidual:
    """One semi-dual problem and a potential for it.

    Attributes:
        targets: `[m, d]` float32 or float64, distinct, centred (a shift moves all scores alike).
        weights: `[m]` float64, positive, of sum 1.
        seed: of all noise.
        potential: `[m]` float64, the iterate h, of mean 0.
        average: `[m]` float64, the averaged iterate: the one to use.
        length: root mean square of |y|, the scale of all steps.

    """

    targets: Tensor
    weights: Tensor
    seed: int
    potential: Tensor = field(init=False)
    average: Tensor = field(init=False)
    length: float = field(init=False)

    def __post_init__(self) -> None:
        # In float64 even for float32 targets: steps get far smaller than the potential.
        self.potential = torch.zeros_like(self.weights)
        self.average = torch.zeros_like(self.weights)
        self.length = math.sqrt(float(self.targets.double().square().sum(1).mean()))

    def noise(self, n: int, *axes: str | int) -> Tensor:
        """`[n, d]` from the stream of `axes`, drawn on the device of the targets."""
        # Drawn there, because on a GPU a copy from the host would take longer than the scores.
        generator = torch.Generator(self.targets.device).manual_seed(stream(self.seed, *axes))
        return torch.randn(
            n,
            self.targets.shape[1],
            generator=generator,
            dtype=self.targets.dtype,
            device=self.targets.device,
        )

    def cells(self, noise: Tensor, potential: Tensor | None = None) -> Tensor:
        """The cell `[b]` int64 of every noise sample `[b, d]`; of the average by default."""
        _, index = winners(noise, self.targets, self.average if potential is None else potential)
        return index[:, 0]

    def counts(self, noise: Tensor, potential: Tensor | None = None) -> Tensor:
        """The number of noise samples in every cell, `[m]` int64; of the average by default."""
        return self.cells(noise, potential).bincount(minlength=len(self.targets))

    def value(self, noise: Tensor) -> float:
        """mean_i u(x_i) - sum_j v_j h_j of the average, for noise samples x `[b, d]`.

        By weak duality it is never below the largest mean <x, y> of a plan between these samples
        and the centred targets y; they are equal at the optimum for the law of the samples.
        """
        best, _ = winners(noise, self.targets, self.average)
        return float(best.mean() - self.weights @ self.average)
