"""The semi-dual of semi-discrete optimal transport from N(0, I) to weighted points, and its stochastic solver.

For targets y_j with weights v_j and the cost -<x, y> the Brenier potential is u(x) = max_j <x, y_j> + h_j, and h
minimises the convex E(h) = E u(x) - sum_j v_j h_j, whose gradient is the mass of each cell less its weight
(Aurenhammer et al. 1998; stochastic: Genevay et al. 2016; DRAG, Genans et al. 2025, for the step sizes).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from couplings.dataset import stream
from couplings.spec import require

# Scores held at once, 256 MB in float32.
SCORES = 1 << 26
# Checks happen at steps 50, 71, 100, 142, 200, ...: their cost stays a fraction of the fit's.
FIRST_CHECK = 50
# A check draws enough noise for a standard error of a fifth of the chi-square it decides on.
STANDARD_ERRORS = 5
# Steps decay as k^(-2/3) (DRAG), and iterate k weighs as k^2 in the average.
DECAY = 2 / 3
AVERAGE_POWER = 2


def best_scores(noise: Tensor, targets: Tensor, potential: Tensor) -> tuple[Tensor, Tensor]:
    """The max and argmax over j of <x, y_j> + h_j, `[b]` each, in chunks of the noise.

    Args:
        noise: `[b, d]`.
        targets: `[m, d]`, same dtype and device.
        potential: `[m]`, h.

    """
    rows = max(1, SCORES // len(targets))
    parts = [torch.addmm(potential, chunk, targets.T).max(1) for chunk in noise.split(rows)]
    if not parts:
        return noise.new_zeros(0), torch.zeros(0, dtype=torch.int64, device=noise.device)
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def chi_square(counts: Tensor, weights: Tensor) -> float:
    """The unbiased chi-square divergence sum_j w_j^2 / v_j - 1 of cell masses w from the weights v.

    Source: arXiv 2509.25519, the estimator of the marginal error for one-hot assignments,
    sum_j c_j (c_j - 1) / v_j / (B (B - 1)) - 1. Being unbiased, it may be negative near 0.

    Args:
        counts: `[m]` int64, of B >= 2 independent draws.
        weights: `[m]` float64, positive, of sum 1.

    """
    counts = counts.double()
    total = counts.sum()
    return float((counts * (counts - 1) / weights).sum() / (total * (total - 1)) - 1)


@dataclass(eq=False)
class Semidual:
    """One semi-dual problem and where its solver stands.

    Attributes:
        targets: `[m, d]` float32 or float64, distinct, centred (a shift moves all scores alike).
        weights: `[m]` float64, positive, of sum 1.
        seed: of all noise; step k draws from its own stream.
        potential: `[m]` float64, the iterate h, of mean 0.
        average: `[m]` float64, the averaged iterate: the one to use.
        length: root mean square of |y|, which gives the steps their scale.
        step: the steps done.
        chi2: the chi-square of the average at the last check, or infinity.

    """

    targets: Tensor
    weights: Tensor
    seed: int
    potential: Tensor = field(init=False)
    average: Tensor = field(init=False)
    length: float = field(init=False)
    step: int = 0
    chi2: float = math.inf

    def __post_init__(self):
        self.potential = torch.zeros_like(self.weights)
        self.average = torch.zeros_like(self.weights)
        self.length = math.sqrt(float(self.targets.double().square().sum(1).mean()))

    def noise(self, n: int, *axes: str | int) -> Tensor:
        """`[n, d]` from the stream of `axes`, drawn on the device of the targets."""
        generator = torch.Generator(self.targets.device).manual_seed(stream(self.seed, *axes))
        options = {"dtype": self.targets.dtype, "device": self.targets.device}
        return torch.randn(n, self.targets.shape[1], generator=generator, **options)

    def cells(self, noise: Tensor, potential: Tensor | None = None) -> Tensor:
        """The cell `[b]` int64 of every noise `[b, d]`, by the average or another potential."""
        potential = self.average if potential is None else potential
        return best_scores(noise, self.targets, potential.to(noise.dtype))[1]

    def counts(self, noise: Tensor, potential: Tensor | None = None) -> Tensor:
        """How many of the noises fall into every cell, `[m]` int64."""
        return self.cells(noise, potential).bincount(minlength=len(self.targets))

    def start(self, batch: int) -> None:
        """Set h = -kappa |y|, with the kappa of least chi-square.

        Long targets win too often. Were the scores independent normals of deviation |y_j|, equal chances of 1/m
        to be the largest would ask for kappa = Phi^-1(1 - 1/m); they are not, so the search goes up to there.
        """
        from scipy.optimize import minimize_scalar
        from scipy.stats import norm

        if len(self.targets) == 1:
            return
        noise, length = self.noise(batch, "start"), self.targets.double().norm(dim=1)
        length = length - length.mean()
        search = minimize_scalar(
            lambda kappa: chi_square(self.counts(noise, -kappa * length), self.weights),
            bounds=(0, max(1.0, norm.isf(1 / len(self.targets)))),
            method="bounded",
            options={"xatol": 0.05, "maxiter": 15},
        )
        self.potential = -search.x * length
        self.average = self.potential.clone()

    def descend(self, batch: int, rate: float) -> None:
        """One averaged stochastic gradient step with `batch` noises, of size rate |y| sqrt(m batch) / k^(2/3)."""
        self.step += 1
        k, m = self.step, len(self.targets)
        mass = self.counts(self.noise(batch, "step", k), self.potential).double() / batch
        self.potential -= rate * self.length * math.sqrt(m * batch) / k**DECAY * (mass - self.weights)
        share = (AVERAGE_POWER + 1) / (k + AVERAGE_POWER)
        self.average += share * (self.potential - self.average)

    def check(self, batch: int, target: float) -> None:
        """Measure `chi2` of the average, with a standard error of about a fifth of `target`."""
        n = max(batch, math.ceil(STANDARD_ERRORS * math.sqrt(2 * len(self.targets)) / target))
        counts = torch.zeros_like(self.weights, dtype=torch.int64)
        for part, done in enumerate(range(0, n, batch)):
            counts += self.counts(self.noise(min(batch, n - done), "check", self.step, part))
        self.chi2 = chi_square(counts, self.weights)

    def solve(self, steps: int, batch: int, rate: float, target: float, progress: Callable[[], None]) -> None:
        """Step until the chi-square is below `target` or `steps` are done; `progress` is called after each.

        Below by one standard error, because of many checks the luckiest is the last.
        """
        if self.step == 0:
            self.start(batch)
        while self.chi2 > (1 - 1 / STANDARD_ERRORS) * target and self.step < steps:
            self.descend(batch, rate)
            if is_check(self.step) or self.step == steps:
                self.check(batch, target)
            progress()

    def value(self, noise: Tensor) -> float:
        """mean_i u(x_i) - sum_j v_j h_j: never below the largest mean <x, y> of a plan on these noises `[b, d]`.

        Weak duality; for the noises' own law, and equal at the optimum. y are the centred targets.
        """
        best, _ = best_scores(noise, self.targets, self.average.to(noise.dtype))
        return float(best.double().mean() - self.weights @ self.average)


def is_check(step: int) -> bool:
    """Whether the fit checks its chi-square at this step."""
    require(step > 0, "steps count from 1")
    power = max(0, round(2 * math.log2(step / FIRST_CHECK)))
    return step == math.ceil(FIRST_CHECK * 2 ** (power / 2))
