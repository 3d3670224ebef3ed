"""Starting potentials of the semi-dual, each for another kind of targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from couplings._streams import stream
from couplings.dataset._lift import lift, near_shortfalls
from couplings.dataset._newton import backtrack, newton_step
from couplings.dataset._semidual import Semidual
from couplings.dataset._winners import FEW_DIMENSIONS, chi_square, winners

# Noise samples per target of a Newton step: enough to tell a small cell from an empty one.
SAMPLES = 10
# Newton steps are worth while as long as the chi-square is not mostly the noise of its samples.
NOISY = 3
# From coarse to fine: a level has a quarter of the next one's targets, down to a few hundred.
COARSER = 4
COARSEST = 300
COARSE_STEPS = 12  # Newton steps of a level at most; the next level refines it
# A smooth start comes from a part of the targets: one of so many, and for each coefficient at
# least so many. More targets take longer and hardly change it.
PART = 6
LEAST_PART = 250
PER_COEFFICIENT = 4
RIDGE = 1e-9  # relative to the diagonal


def potential_on_the_line(targets: Tensor, weights: Tensor) -> Tensor:
    """The exact potential `[m]` of targets `[m]` on the line, of mean 0.

    Cells are intervals between the quantiles q_j of N(0, 1) at the sums of the weights of the
    sorted targets, where neighbouring scores are equal: h_j+1 - h_j = -q_j (y_j+1 - y_j).
    """
    order = targets.argsort()
    y = targets[order].double()
    quantile = torch.special.ndtri(weights[order].cumsum(0)[:-1])
    rises = torch.cat([y.new_zeros(1), -quantile * y.diff()])
    potential = torch.empty_like(weights)
    potential[order] = rises.cumsum(0)
    return potential - potential.mean()


def norm_start(dual: Semidual, noise: Tensor) -> tuple[float, Tensor]:
    """The least chi-square on the noise `[b, d]` of a potential -kappa |y|, and this potential.

    Long targets win too often. If the scores were independent normals of deviation |y_j|, equal
    chances of 1/m to be the largest would need kappa = Phi^-1(1 - 1/m). They are not independent,
    so the search is between 0 and that.
    """
    from scipy.stats import norm

    length = dual.targets.double().norm(dim=1)
    length = length - length.mean()
    most = max(1.0, norm.isf(1 / len(dual.targets)))
    found, kappa = _search(dual, noise, lambda kappa: -kappa * length, (0, most), 0.05, 15)
    return found, -kappa * length


def voronoi_start(dual: Semidual, noise: Tensor) -> tuple[float, Tensor]:
    """The least chi-square on the noise `[b, d]` of Voronoi cells, and their potential `[m]`.

    h = -a |y|^2 / 2 gives noise x the nearest of the points a y. In few dimensions the best a
    spreads them like the noise, so that few cells are empty.
    """
    square = dual.targets.double().square().sum(1)
    unit = (square - square.mean()) / (2 * dual.length / math.sqrt(dual.targets.shape[1]))
    # By the logarithm of a, because its order of magnitude is unknown.
    found, log = _search(dual, noise, lambda log: -math.exp(log) * unit, (-4, 2), 0.1, 12)
    return found, -math.exp(log) * unit


def coarse_start(dual: Semidual) -> Tensor:
    """A potential `[m]` from a recursive solution for a quarter of the targets.

    Each of these has the weight of the targets nearest to it. The potential of a target is the
    least at which its cell wins a sample of the noise (a c-transform). Multi-scale solvers of
    optimal transport begin like this (Merigot 2011). It uses k-d trees, so it runs on the CPU only.
    """
    from scipy.spatial import cKDTree

    m = len(dual.targets)
    shuffled = torch.Generator("cpu").manual_seed(stream(dual.seed, "coarse", m))
    rows = torch.randperm(m, generator=shuffled, device="cpu")[: math.ceil(m / COARSER)]
    coarse = dual.targets[rows]
    _, nearest = cKDTree(coarse.double().numpy()).query(dual.targets.double().numpy())
    weights = dual.weights.new_zeros(len(rows))
    weights.index_add_(0, torch.from_numpy(nearest), dual.weights)
    part = Semidual(coarse, weights, stream(dual.seed, "coarse seed", m))
    _solve_coarsely(part)
    # Raise every target's own cell, which wins nothing yet, until it wins a sample of a coarse one.
    noise = dual.noise(SAMPLES * m, "fill")
    best, winner = winners(noise, coarse, part.potential)
    sites = torch.cat([coarse, dual.targets])
    potential = torch.cat([part.potential, torch.zeros_like(dual.weights)])
    cells = len(rows) + torch.arange(m, device="cpu")
    one = torch.ones(m, dtype=torch.int64, device="cpu")
    return near_shortfalls(noise, best[:, 0], winner[:, 0], sites, potential, cells, one)


def suits_a_smooth_start(targets: Tensor) -> bool:
    """True if a part of the targets `[m, d]` determines the coefficients of `prolonged`."""
    m, d = targets.shape
    # In few dimensions gradient steps stall anyway, and Newton steps begin from coarse to fine.
    return d > FEW_DIMENSIONS and m >= PART * max(LEAST_PART, PER_COEFFICIENT * (2 * d + 3))


def prolonged(targets: Tensor, rows: Tensor, potential: Tensor) -> Tensor:
    """The potential `[m]` of all targets, by least squares from the potential `[r]` of some rows.

    It is a sum of multiples of 1, |y|, |y|^2, the coordinates of y and their squares. On images
    these explain nine tenths of the variance of the optimal potential. (A c-transform, or the
    nearest rows, leave a chi-square many times as large.)
    """
    part = targets[rows].double()
    length = targets.double().norm(dim=1)
    norms = torch.stack([torch.ones_like(length), length, length.square()], 1)
    design = torch.cat([norms[rows], part, part.square()], 1)
    gram = design.T @ design
    # |y|^2 is the sum of the squares, so the Gram matrix is singular without a ridge.
    ridge = RIDGE * torch.diag(gram.diagonal())
    of_norms, linear, square = torch.linalg.solve(gram + ridge, design.T @ potential).split(
        [3, part.shape[1], part.shape[1]]
    )
    # In the targets' dtype, because a copy in float64 of all of them would take too much memory.
    rest = targets @ linear.to(targets) + targets.square() @ square.to(targets)
    whole = norms @ of_norms + rest.double()
    return whole - whole.mean()


def _search(
    dual: Semidual,
    noise: Tensor,
    potential: Callable[[float], Tensor],
    bounds: tuple[float, float],
    accuracy: float,
    steps: int,
) -> tuple[float, float]:
    """The least chi-square over a number within bounds, and this number."""
    from scipy.optimize import minimize_scalar

    search = minimize_scalar(
        lambda number: chi_square(dual.counts(noise, potential(number)), dual.weights),
        bounds=bounds,
        method="bounded",
        options={"xatol": accuracy, "maxiter": steps},
    )
    return float(search.fun), search.x


def _solve_coarsely(part: Semidual) -> None:
    """Newton steps from a start that is coarser still."""
    m = len(part.targets)
    n = SAMPLES * m
    if m > COARSEST:
        part.potential = coarse_start(part)
    else:
        _, part.potential = voronoi_start(part, part.noise(n, "voronoi"))
    for level_step in range(COARSE_STEPS):
        chi2 = _damped_newton(part, part.noise(n, "coarse", level_step))
        if chi2 < NOISY * m / n:
            break


def _damped_newton(dual: Semidual, noise: Tensor) -> float:
    """Lift empty cells, then step as far as it helps; the biased chi-square before the step."""

    def sample() -> Iterator[Tensor]:
        return iter([noise])

    dual.potential = lift(dual, dual.potential, sample, len(noise))
    step, chi2 = newton_step(dual, sample, len(noise))
    dual.potential = dual.potential - backtrack(dual, step, chi2, sample)
    return chi2
