"""The semi-dual of semi-discrete optimal transport from N(0, I) to weighted points, and its
stochastic solver.

For targets y_j with weights v_j and the cost -<x, y> the Brenier potential is u(x) = max_j <x, y_j>
+ h_j, and h minimises the convex E(h) = E u(x) - sum_j v_j h_j, whose gradient is the mass of each
cell less its weight (Aurenhammer et al. 1998; stochastic: Genevay et al. 2016; DRAG, Genans et al.
2025, for the step sizes).

Gradient steps suit images. In few dimensions, or among targets in tight clusters, no size suits all
of their directions: where they stall, the solver restarts with Newton steps on samples of noise
(see `couplings.dataset._newton`), first with backtracking, then averaged.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from couplings.dataset._newton import (
    backtrack,
    bear_out,
    lift,
    near_shortfalls,
    newton_step,
    voronoi_start,
)
from couplings.dataset._winners import chi_square, suits_a_tree, winners
from couplings.dataset.contract import stream
from couplings.errors import require

# Numbers of noise that a Newton step holds at once, 16 MB in float32.
NOISE_AT_ONCE = 1 << 22
# Checks happen at steps 50, 71, 100, 142, 200, ...: their cost stays a fraction of the fit's.
FIRST_CHECK = 50
# A check draws enough noise for a standard error of a fifth of the chi-square it decides on.
STANDARD_ERRORS = 5
# The check that confirms the last one has so many times its noise.
CONFIRMED_BY = 4
# Steps decay as k^(-2/3) (DRAG), and iterate k weighs as k^2 in the average.
DECAY = 2 / 3
AVERAGE_POWER = 2
# Gradient steps stall where, by the fall between two checks, they will not be at the target after
# so many steps. Nearer to the target than FAR times, a check is too noisy to tell.
HORIZON = 10_000
FAR = 3
# Noise samples per target of a Newton step: enough to tell a small cell from an empty one.
SAMPLES = 10
# Averaging begins where the chi-square of an iterate is mostly the noise of its samples.
NOISY = 3
# From coarse to fine: a level has a quarter of the next one's targets, down to a few hundred; steps
# of a level.
COARSER = 4
COARSEST = 300
COARSE_STEPS = 12
# Averaged Newton steps are 3 / (k + 2) long, counted from k = 1 + EXTRA_SAMPLES / (samples per
# cell): a full step of few samples mostly follows their noise.
EXTRA_SAMPLES = 50
# The solver gives up after so many Newton steps without a fall of the chi-square by 5 %, or after
# half of all averaged steps if that is more.
PATIENCE = 30
PROGRESS = 0.95


@dataclass(eq=False)
class Semidual:
    """One semi-dual problem and where its solver stands.

    Attributes: targets: `[m, d]` float32 or float64, distinct, centred (a shift moves all scores
        alike). weights: `[m]` float64, positive, of sum 1. seed: of all noise; step k draws from
        its own stream. potential: `[m]` float64, the iterate h, of mean 0. average: `[m]` float64,
        the averaged iterate: the one to use. length: root mean square of |y|, which gives the steps
        their scale. step: the steps done; a Newton step counts as the gradient steps that would
        need as much noise. chi2: the chi-square of the average at the last check, or infinity.
        averaged: how many Newton steps are averaged; -1 while the solver takes gradient steps.
        best: the least chi-square since the first Newton step. since: the Newton steps since one
        lowered it. confirmed: True if `chi2` is that of a larger check, which confirmed the one
        before it.

    """

    targets: Tensor
    weights: Tensor
    seed: int
    potential: Tensor = field(init=False)
    average: Tensor = field(init=False)
    length: float = field(init=False)
    step: int = 0
    chi2: float = math.inf
    averaged: int = -1
    best: float = math.inf
    since: int = 0
    confirmed: bool = False

    def __post_init__(self):
        self.potential = torch.zeros_like(self.weights)
        self.average = torch.zeros_like(self.weights)
        self.length = math.sqrt(float(self.targets.double().square().sum(1).mean()))

    @property
    def takes_newton_steps(self) -> bool:
        """True once gradient steps have stalled."""
        return self.averaged >= 0

    @property
    def stalled(self) -> bool:
        """Whether more steps are futile."""
        return self.since >= max(PATIENCE, self.averaged / 2)

    @property
    def is_due(self) -> bool:
        """Whether the solver checks its chi-square at this point; rarely, as the luckiest check
        ends it.
        """
        if not self.takes_newton_steps:
            return is_check(self.step)
        return self.averaged == 0 or is_spaced(self.averaged, 1)

    def noise(self, n: int, *axes: str | int) -> Tensor:
        """`[n, d]` from the stream of `axes`, drawn on the device of the targets."""
        generator = torch.Generator(self.targets.device).manual_seed(stream(self.seed, *axes))
        options = {"dtype": self.targets.dtype, "device": self.targets.device}
        return torch.randn(n, self.targets.shape[1], generator=generator, **options)

    def cells(self, noise: Tensor, potential: Tensor | None = None) -> Tensor:
        """The cell `[b]` int64 of every noise sample `[b, d]`, by the average unless given."""
        potential = self.average if potential is None else potential
        return winners(noise, self.targets, potential)[1][:, 0]

    def counts(self, noise: Tensor, potential: Tensor | None = None) -> Tensor:
        """How many noise samples fall into every cell, `[m]` int64."""
        return self.cells(noise, potential).bincount(minlength=len(self.targets))

    def start(self, batch: int) -> float:
        """Set h = -kappa |y|, with the kappa of least chi-square, which is returned.

        Long targets win too often. Were the scores independent normals of deviation |y_j|, equal
        chances of 1/m to be the largest would ask for kappa = Phi^-1(1 - 1/m); they are not, so the
        search goes up to there.
        """
        from scipy.optimize import minimize_scalar
        from scipy.stats import norm

        if len(self.targets) == 1:
            return 0.0
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
        return float(search.fun)

    def descend(self, batch: int, rate: float) -> None:
        """One averaged stochastic gradient step on `batch` noise samples: rate |y| sqrt(m batch) /
        k^(2/3) long.
        """
        self.step += 1
        k, m = self.step, len(self.targets)
        mass = self.counts(self.noise(batch, "step", k), self.potential).double() / batch
        self.potential -= (
            rate * self.length * math.sqrt(m * batch) / k**DECAY * (mass - self.weights)
        )
        self.average += average_share(k) * (self.potential - self.average)

    def check(self, batch: int, target: float, stream_name: str = "check", times: int = 1) -> None:
        """Measure `chi2` of the average, with a standard error of about a fifth of `target`, over
        `times`.
        """
        n = times * max(
            batch, math.ceil(STANDARD_ERRORS * math.sqrt(2 * len(self.targets)) / target)
        )
        counts = torch.zeros_like(self.weights, dtype=torch.int64)
        for part, done in enumerate(range(0, n, batch)):
            counts += self.counts(self.noise(min(batch, n - done), stream_name, self.step, part))
        self.chi2 = chi_square(counts, self.weights)
        self.confirmed = False
        if self.takes_newton_steps:
            self.since = 0 if self.chi2 < PROGRESS * self.best else self.since
            self.best = min(self.best, self.chi2)

    def has_reached(self, batch: int, target: float) -> bool:
        """True once a check is below `target` by a standard error and a larger one, on fresh noise,
        confirms it.

        The luckiest of many checks is too low to be believed or reported. `chi2` is then that of
        the larger one.
        """
        if self.confirmed and self.chi2 <= target:
            return True
        if self.chi2 > (1 - 1 / STANDARD_ERRORS) * target:
            return False
        self.check(batch, target, "confirm", CONFIRMED_BY)
        self.confirmed = self.chi2 <= target
        return self.confirmed

    def begin_newton(self, batch: int) -> None:
        """Restart from the better of the average and Voronoi's cells; gradient steps have stalled.

        With a k-d tree it starts from coarse to fine instead, because a start far off takes too
        many Newton steps.
        """
        self.averaged = 0
        if suits_a_tree(self.targets):
            self.potential = coarse_start(self)
            self.average = self.potential.clone()
            return
        noise = self.noise(max(batch, len(self.targets)), "voronoi")
        found, potential = voronoi_start(self, noise)
        average = chi_square(self.counts(noise), self.weights)
        self.potential = potential if found < average else self.average.clone()
        self.average = self.potential.clone()

    def newton(self, batch: int) -> None:
        """One Newton step on noise samples of its own.

        Those averaged get shorter as 3 / k, which averages them with weights that grow as k^2.
        """
        m, first = len(self.targets), self.step
        parts = math.ceil(max(batch, SAMPLES * m) / batch)
        n = parts * batch

        def sample(name: str = "newton") -> Iterator[Tensor]:
            drawn = (self.noise(batch, name, first, part) for part in range(parts))
            # In few dimensions all of it is small, and looked up faster at once.
            return (
                iter([torch.cat(list(drawn))])
                if n * self.targets.shape[1] <= NOISE_AT_ONCE
                else drawn
            )

        if self.averaged == 0:
            self.potential = lift(self, self.potential, sample, n)
        step, chi2 = newton_step(self, sample, n)
        if chi2 < NOISY * m / n:
            self.averaged += 1
            step = average_share(self.averaged + EXTRA_SAMPLES * m / n) * step
            step = bear_out(self, step, chi2, lambda: sample("fresh"), n)
        else:
            self.averaged = 0
            step = backtrack(self, step, chi2, sample)
        self.potential = self.potential - step
        self.potential -= self.potential.mean()
        self.average = self.potential.clone()
        self.step += parts
        self.since += 1

    def solve(
        self, steps: int, batch: int, rate: float, target: float, progress: Callable[[], None]
    ) -> None:
        """Step until the chi-square is below `target`, `steps` are done or more are futile.

        `progress` is called after each step.
        """
        # Between two checks of the schedule, how fast the chi-square falls means nothing.
        before = self.chi2 if self.step and is_check(self.step) else math.inf
        if self.step == 0 and self.targets.shape[1] == 1:
            # The closed form needs no step, only the check.
            self.potential = potential_on_the_line(self.targets[:, 0], self.weights)
            self.average = self.potential.clone()
            self.check(batch, target)
        elif self.step == 0:
            before = self.start(batch)
        while not self.has_reached(batch, target) and self.step < steps and not self.stalled:
            gradient = not self.takes_newton_steps
            if gradient:
                self.descend(batch, rate)
            else:
                self.newton(batch)
            if self.is_due or self.step >= steps:
                self.check(batch, target)
            if gradient and self.is_due:
                if is_futile(before, self.chi2, self.step, target):
                    self.begin_newton(batch)
                before = self.chi2
            progress()

    def value(self, noise: Tensor) -> float:
        """mean_i u(x_i) - sum_j v_j h_j: never below the largest mean <x, y> of a plan on these
        noise samples `[b, d]`.

        Weak duality; for the law of the noise samples, and equal at the optimum. y are the centred
        targets.
        """
        best, _ = winners(noise, self.targets, self.average)
        return float(best.mean() - self.weights @ self.average)


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


def coarse_start(dual: Semidual) -> Tensor:
    """A potential `[m]` from a recursive solution for a quarter of the targets, each with the
    weight of those nearest.

    The potential of a target is the least at which its cell wins a sample of the noise (a
    c-transform). Multi-scale solvers of optimal transport begin like this (Merigot 2011). Only on
    the CPU: it looks things up in k-d trees.
    """
    from scipy.spatial import cKDTree

    m = len(dual.targets)
    shuffled = torch.Generator("cpu").manual_seed(stream(dual.seed, "coarse", m))
    rows = torch.randperm(m, generator=shuffled, device="cpu")[: math.ceil(m / COARSER)]
    coarse = dual.targets[rows]
    nearest = torch.from_numpy(
        cKDTree(coarse.double().numpy()).query(dual.targets.double().numpy())[1]
    )
    weights = dual.weights.new_zeros(len(rows)).index_add_(0, nearest, dual.weights)
    part = Semidual(coarse, weights, stream(dual.seed, "coarse seed", m))
    n = SAMPLES * len(rows)
    if len(rows) > COARSEST:
        part.potential = coarse_start(part)
    else:
        _, part.potential = voronoi_start(part, part.noise(n, "voronoi"))
    for level_step in range(COARSE_STEPS):
        if _damped_newton(part, part.noise(n, "coarse", level_step)) < NOISY * len(rows) / n:
            break
    # Cells that win nothing yet, to be raised until they win a sample that a coarse cell has.
    noise = dual.noise(SAMPLES * m, "fill")
    best, winner = winners(noise, coarse, part.potential)
    sites = torch.cat([coarse, dual.targets])
    potential = torch.cat([part.potential, torch.zeros_like(dual.weights)])
    cells = len(rows) + torch.arange(m, device="cpu")
    one = torch.ones(m, dtype=torch.int64, device="cpu")
    return near_shortfalls(noise, best[:, 0], winner[:, 0], sites, potential, cells, one)


def _damped_newton(dual: Semidual, noise: Tensor) -> float:
    """Lift empty cells, then step as far as it helps; the biased chi-square of the noise before the
    step.
    """

    def sample() -> Iterator[Tensor]:
        return iter([noise])

    dual.potential = lift(dual, dual.potential, sample, len(noise))
    step, chi2 = newton_step(dual, sample, len(noise))
    dual.potential = dual.potential - backtrack(dual, step, chi2, sample)
    return chi2


def is_futile(before: float, chi2: float, step: int, target: float) -> bool:
    """Whether the chi-square, falling from check to check as it just did, stays above the target
    for long.
    """
    if chi2 <= FAR * target or not math.isfinite(before):
        return False
    # Checks, each at 2^(1/2) the steps of the one before
    left = max(1.0, 2 * math.log2(HORIZON / step))
    return chi2 >= before or chi2 * (chi2 / before) ** left > target


def average_share(k: float) -> float:
    """The share of term k in a running average whose weights grow as k^2."""
    return (AVERAGE_POWER + 1) / (k + AVERAGE_POWER)


def is_check(step: int) -> bool:
    """Whether a fit by gradient steps checks its chi-square at this step."""
    return is_spaced(step, FIRST_CHECK)


def is_spaced(step: int, first: int) -> bool:
    """Whether a step is one of first, first 2^(1/2), first 2, ..., each rounded up."""
    require(step > 0, "steps count from 1")
    power = max(0, round(2 * math.log2(step / first)))
    return step == math.ceil(first * 2 ** (power / 2))
