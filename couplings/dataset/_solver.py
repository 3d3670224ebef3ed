"""The stochastic solver of the semi-dual.

Averaged stochastic gradient steps (Genevay et al. 2016; DRAG, Genans et al. 2025, for the step
sizes) suit images. They start from a potential that is prolonged from a part of the targets. In few
dimensions, or among targets in tight clusters, no size suits all of their directions: where they
stall, the solver restarts with Newton steps on samples of noise (see `couplings.dataset._newton`),
first with backtracking, then averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from couplings._streams import stream
from couplings.dataset._lift import lift
from couplings.dataset._newton import backtrack, bear_out, newton_step
from couplings.dataset._semidual import Semidual
from couplings.dataset._starts import (
    NOISY,
    PART,
    SAMPLES,
    coarse_start,
    norm_start,
    potential_on_the_line,
    prolonged,
    suits_a_smooth_start,
    voronoi_start,
)
from couplings.dataset._winners import chi_square, suits_a_tree
from couplings.errors import require

# Numbers of noise that a Newton step holds at once, 16 MB in float32.
NOISE_AT_ONCE = 1 << 22
# Checks happen at steps 50, 60, 71, 85, 100, ...: their cost stays a fraction of the fit's.
FIRST_CHECK = 50
CHECKS = 4  # per doubling of the steps
# Whether gradient steps stall is judged at every second one: nearer ones differ by noise mostly.
JUDGED = 2
# A check draws enough noise for a standard error of a fifth of the chi-square it decides on.
STANDARD_ERRORS = 5
# The check that confirms the last one has so many times its noise.
CONFIRMED_BY = 2
# Steps decay as k^(-2/3) (DRAG), and iterate k weighs as k^2 in the average.
DECAY = 2 / 3
AVERAGE_POWER = 2
# Noise samples per target, and steps, of the fit of the part that a smooth start comes from.
PART_SAMPLES = 12
PART_STEPS = 96
# Above this chi-square a smooth start is compared with the start by norms.
POOR = 3
# Gradient steps stall where, by the fall between two checks, they will not be at the target after
# so many steps. Nearer to the target than FAR times, a check is too noisy to tell.
HORIZON = 10_000
FAR = 3
# Averaged Newton steps are 3 / (k + 2) long, counted from k = 1 + EXTRA_SAMPLES / (samples per
# cell): a full step of few samples mostly follows their noise.
EXTRA_SAMPLES = 50
# The solver gives up after so many Newton steps without a fall of the chi-square by 5 %, or after
# half of all averaged steps if that is more.
PATIENCE = 30
PROGRESS = 0.95


@dataclass(eq=False)
class Solver(Semidual):
    """A semi-dual problem and the progress of its solver.

    Attributes:
        step: the steps done; a Newton step counts as the gradient steps that would need as much
            noise. Step k draws from its own stream.
        chi2: the chi-square of the average at the last check, or infinity.
        averaged: Newton steps that are averaged; -1 while the solver takes gradient steps.
        best: the least chi-square since the first Newton step.
        since: the Newton steps since one lowered it.
        confirmed: True if `chi2` is that of a larger check, which confirmed the one before it.
        head: the gradient steps that the start is worth: steps and averages count from there.
        before: the chi-square when the last decision was made whether gradient steps stall.

    """

    step: int = 0
    chi2: float = math.inf
    averaged: int = -1
    best: float = math.inf
    since: int = 0
    confirmed: bool = False
    head: float = 0.0
    before: float = math.inf

    @property
    def takes_newton_steps(self) -> bool:
        """True once gradient steps have stalled."""
        return self.averaged >= 0

    @property
    def stalled(self) -> bool:
        """True if more steps are futile."""
        return self.since >= max(PATIENCE, self.averaged / 2)

    @property
    def is_due(self) -> bool:
        """True if the solver checks its chi-square now; rarely, as the luckiest check ends it."""
        if not self.takes_newton_steps:
            return is_spaced(self.step, FIRST_CHECK, CHECKS)
        return self.averaged == 0 or is_spaced(self.averaged, 1)

    def solve(
        self, steps: int, batch: int, rate: float, target: float, progress: Callable[[], None]
    ) -> None:
        """Step until the chi-square is below `target`, `steps` are done or more are futile.

        Args:
            steps: at most, of all sessions.
            batch: noise samples of a step.
            rate: see `descend`.
            target: the chi-square.
            progress: called after each step.

        """
        self._begin(batch, rate, target)
        # First in the condition, because it may run the check that the others are judged by.
        while not self.has_reached(batch, target) and self.step < steps and not self.stalled:
            is_gradient_step = not self.takes_newton_steps
            if is_gradient_step:
                self.descend(batch, rate)
            else:
                self.newton(batch)
            if self.is_due or self.step >= steps:
                self.check(batch, target)
            if is_gradient_step and is_check(self.step):
                if is_futile(self.before, self.chi2, self.step, target):
                    self.begin_newton(batch)
                self.before = self.chi2
            progress()

    def start(self, batch: int, rate: float) -> None:
        """Set the potential from a part of the targets, or by their norms."""
        m = len(self.targets)
        if m == 1:
            return
        noise = self.noise(batch, "start")
        found = math.inf
        if suits_a_smooth_start(self.targets):
            self.potential = self._smooth_start(batch, rate)
            found = chi_square(self.counts(noise, self.potential), self.weights)
            # Gradient steps have a chi-square of about the cells over their samples, so the start
            # is worth the samples that would lead to its own; it is known up to its noise.
            self.head = m / (max(found, math.sqrt(2 * m) / batch) * batch)
        if found > POOR:
            by_norms, potential = norm_start(self, noise)
            if by_norms < found:
                self.potential = potential
                self.head = 0.0
        self.average = self.potential.clone()

    def _smooth_start(self, batch: int, rate: float) -> Tensor:
        """The potential `[m]` prolonged from a fit of a part of the targets."""
        m = len(self.targets)
        shuffled = torch.Generator("cpu").manual_seed(stream(self.seed, "part"))
        rows = torch.randperm(m, generator=shuffled, device="cpu")[: m // PART]
        rows = rows.to(self.targets.device)
        weights = self.weights[rows] / self.weights[rows].sum()
        centre = (weights @ self.targets[rows].double()).to(self.targets)
        part = Solver(self.targets[rows] - centre, weights, stream(self.seed, "part seed"))
        _, part.potential = norm_start(part, part.noise(batch, "start"))
        part.average = part.potential.clone()
        part_batch = min(batch, math.ceil(PART_SAMPLES * len(rows) / PART_STEPS))
        while part.step * part_batch < PART_SAMPLES * len(rows):
            part.descend(part_batch, rate)
        # <x, y - c> + h differs by <x, c> for all targets alike, so the potentials are the same.
        return prolonged(self.targets, rows, part.average)

    def descend(self, batch: int, rate: float) -> None:
        """Take one averaged stochastic gradient step on `batch` noise samples.

        Its length is rate |y| sqrt(m batch) / k^(2/3), with |y| the root mean square norm of the m
        targets and k the steps with those that the start is worth.
        """
        self.step += 1
        counts = self.counts(self.noise(batch, "step", self.step), self.potential)
        k = self.step + self.head
        gradient = counts.double() / batch - self.weights
        size = rate * self.length * math.sqrt(len(self.targets) * batch) / k**DECAY
        self.potential -= size * gradient
        self.average += average_share(k) * (self.potential - self.average)

    def newton(self, batch: int) -> None:
        """Take one Newton step on its own noise samples.

        Those averaged get shorter as 3 / k, which averages them with weights that grow as k^2.
        """
        m = len(self.targets)
        first = self.step
        parts = math.ceil(max(batch, SAMPLES * m) / batch)
        n = parts * batch

        def sample(name: str = "newton") -> Iterator[Tensor]:
            drawn = (self.noise(batch, name, first, part) for part in range(parts))
            if n * self.targets.shape[1] > NOISE_AT_ONCE:
                return drawn
            # In few dimensions all of it is small, and the k-d tree is then built only once.
            return iter([torch.cat(list(drawn))])

        if self.averaged == 0:
            self.potential = lift(self, self.potential, sample, n)
        step, chi2 = newton_step(self, sample, n)
        if chi2 < NOISY * m / n:
            # The chi-square is mostly the noise of the samples: from here on, averaging helps.
            self.averaged += 1
            step = average_share(self.averaged + EXTRA_SAMPLES * m / n) * step
            step = bear_out(self, step, chi2, lambda: sample("fresh"), n)
        else:
            self.averaged = 0
            step = backtrack(self, step, chi2, sample)
        self.potential = self.potential - step
        self.potential -= self.potential.mean()
        # The shrinking steps are the average already.
        self.average = self.potential.clone()
        self.step += parts
        self.since += 1

    def begin_newton(self, batch: int) -> None:
        """Restart from the better of the average and Voronoi's cells; gradient steps have stalled.

        With a k-d tree it starts from coarse to fine instead, because a distant start takes too
        many Newton steps.
        """
        self.averaged = 0
        if suits_a_tree(self.targets):
            self.potential = coarse_start(self)
        else:
            noise = self.noise(max(batch, len(self.targets)), "voronoi")
            found, potential = voronoi_start(self, noise)
            average = chi_square(self.counts(noise), self.weights)
            self.potential = potential if found < average else self.average.clone()
        self.average = self.potential.clone()

    def check(self, batch: int, target: float, stream_name: str = "check", times: int = 1) -> None:
        """Measure `chi2` of the average, with a standard error of about a fifth of `target`.

        Args:
            batch: noise samples at a time.
            target: the chi-square that the check decides on.
            stream_name: of the noise.
            times: as much noise as that takes.

        """
        enough = math.ceil(STANDARD_ERRORS * math.sqrt(2 * len(self.targets)) / target)
        n = times * max(batch, enough)
        counts = torch.zeros_like(self.weights, dtype=torch.int64)
        for part, done in enumerate(range(0, n, batch)):
            counts += self.counts(self.noise(min(batch, n - done), stream_name, self.step, part))
        self.chi2 = chi_square(counts, self.weights)
        self.confirmed = False
        if self.takes_newton_steps:
            if self.chi2 < PROGRESS * self.best:
                self.since = 0
            self.best = min(self.best, self.chi2)

    def has_reached(self, batch: int, target: float) -> bool:
        """True once a check is clearly below `target` and a larger one, on fresh noise, agrees.

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

    def _begin(self, batch: int, rate: float, target: float) -> None:
        """Start, unless the fit resumes."""
        if self.step:
            return
        if self.targets.shape[1] > 1:
            self.start(batch, rate)
            return
        # The closed form needs no step, only the check.
        self.potential = potential_on_the_line(self.targets[:, 0], self.weights)
        self.average = self.potential.clone()
        self.check(batch, target)


def is_futile(before: float, chi2: float, step: int, target: float) -> bool:
    """True if the chi-square, falling from check to check as it just did, will stay too high.

    Args:
        before: the chi-square at the check before.
        chi2: at this one.
        step: the steps done.
        target: the chi-square to reach.

    """
    if chi2 <= FAR * target or not math.isfinite(before):
        return False
    # Checks until the horizon, each at 2^(1/2) the steps of the one before.
    left = max(1.0, 2 * math.log2(HORIZON / step))
    return chi2 >= before or chi2 * (chi2 / before) ** left > target


def average_share(k: float) -> float:
    """The share of term k in a running average whose weights grow as k^2."""
    return (AVERAGE_POWER + 1) / (k + AVERAGE_POWER)


def is_check(step: int) -> bool:
    """True if at this step it is judged whether gradient steps stall: 50, 71, 100, 142, ..."""
    return is_spaced(step, FIRST_CHECK, JUDGED)


def is_spaced(step: int, first: int, per_doubling: int = 2) -> bool:
    """True for the steps first, first 2^(1/p), first 2^(2/p), ..., each rounded up.

    `per_doubling` is p.
    """
    require(step > 0, "steps count from 1")
    # The only candidate, found by its logarithm and compared in whole numbers.
    power = max(0, round(per_doubling * math.log2(step / first)))
    return step == math.ceil(first * 2 ** (power / per_doubling))
