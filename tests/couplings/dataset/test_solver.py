import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from couplings.dataset._solver import Solver, is_check, is_futile, is_spaced
from couplings.dataset._starts import norm_start, prolonged
from couplings.dataset._winners import chi_square, winners
from couplings.dataset.contract import stream
from couplings.plan import import_pot


def problem(m: int, d: int, seed: int = 0) -> Solver:
    targets = torch.randn(m, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Solver(targets - targets.mean(0), torch.full((m,), 1 / m, dtype=torch.float64), seed)


def solve(dual: Solver, steps: int = 400, batch: int = 1024) -> Solver:
    dual.start(batch, 0.2)
    for _ in range(steps):
        dual.descend(batch, 0.2)
    return dual


def test_closed_form_on_the_line():
    """Cells are the Gaussian's quantile intervals: h_{k+1} = h_k - t_k (y_{k+1} - y_k), t_k =
    Phi^-1(k / N).
    """
    m = 16
    dual = problem(m, 1)
    # Gaps of .1 to .3: between nearly equal targets a border is known far less well than the
    # potential.
    gaps = 0.1 + 0.2 * torch.rand(
        m, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    dual.targets = gaps.cumsum(0) - gaps.cumsum(0).mean()
    solve(dual, steps=4000)
    y = dual.targets[:, 0].numpy()
    t = norm.ppf(np.arange(1, m) / m)
    expected = np.concatenate([[0], np.cumsum(-t * np.diff(y))])
    assert np.abs(dual.average.numpy() - (expected - expected.mean())).max() < 5e-3
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)[:, None]
    cells = dual.cells(x).numpy()
    away = np.abs(x.numpy() - t).min(1) > 0.05
    assert (cells == np.floor(norm.cdf(x[:, 0].numpy()) * m))[away].all()


class Discrete(Solver):
    """A source of finitely many points, so that POT knows the exact value."""

    def noise(self, n, *axes):
        generator = torch.Generator().manual_seed(stream(self.seed, *axes))
        return self.points[torch.randint(len(self.points), (n,), generator=generator)]


def test_value_on_a_discrete_source_against_pot():
    plain = problem(60, 8)
    dual = Discrete(plain.targets, plain.weights, 0)
    dual.points = torch.randn(
        600, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5)
    )
    cost = -(dual.points @ dual.targets.T).numpy()
    exact = -float(
        import_pot().emd2(np.full(600, 1 / 600), dual.weights.numpy(), cost, numItermax=10**7)
    )
    dual.start(512, 0.2)
    for k in range(4000):
        dual.descend(512, 0.2)
        if k % 400 == 0:
            assert dual.value(dual.points) >= exact - 1e-9  # weak duality, whatever the potential
    assert dual.value(dual.points) == pytest.approx(exact, rel=1e-4)


def test_weak_duality_and_primal_meet():
    dual = solve(problem(40, 3))
    noise = dual.noise(40000, "test")
    primal = float((noise * dual.targets[dual.cells(noise)]).sum(1).mean())
    assert dual.value(noise) == pytest.approx(primal, rel=5e-3)
    other = problem(40, 3)
    other.average = torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert other.value(noise) > dual.value(noise)


def test_cells_are_equally_likely():
    dual = solve(problem(50, 2), steps=800)
    frequency = dual.counts(dual.noise(400_000, "test")).double() / 400_000
    assert (50 * frequency - 1).abs().max() < 0.06


def test_weights_are_kept():
    dual = problem(10, 3)
    dual.weights = torch.arange(1, 11, dtype=torch.float64) / 55
    solve(dual, steps=800)
    frequency = dual.counts(dual.noise(200_000, "test")).double() / 200_000
    assert (frequency - dual.weights).abs().max() < 0.004


def test_chi_square_is_the_double_sum_and_unbiased():
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(7, dtype=torch.float64, generator=generator)
    weights /= weights.sum()
    draws = torch.randint(7, (30,), generator=generator)
    one_hot = torch.eye(7, dtype=torch.float64)[draws]
    pairs = (one_hot / weights) @ one_hot.T
    expected = (pairs.sum() - pairs.trace()) / (30 * 29) - 1
    assert chi_square(draws.bincount(minlength=7), weights) == pytest.approx(float(expected))
    law = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    uniform = torch.full((3,), 1 / 3, dtype=torch.float64)
    values = [
        chi_square(
            torch.multinomial(law, 8, True, generator=generator).bincount(minlength=3), uniform
        )
        for _ in range(20000)
    ]
    error = np.std(values) / math.sqrt(len(values))
    assert np.mean(values) == pytest.approx(3 * float(law.square().sum()) - 1, abs=4 * error)


def test_descent_follows_the_finite_difference_of_the_value():
    """On a fixed sample the value is piecewise linear: away from ties its slope is weight less
    mass.
    """
    dual = problem(12, 4)
    noise = dual.noise(500, "test")
    mass = dual.counts(noise).double() / 500
    for j in range(12):
        before = dual.value(noise)
        dual.average[j] += 1e-7
        slope = (dual.value(noise) - before) / 1e-7
        dual.average[j] -= 1e-7
        assert slope == pytest.approx(float(mass[j] - dual.weights[j]), abs=1e-5)


def test_gauge_scale_and_chunks():
    dual = solve(problem(30, 3), steps=60)
    noise = dual.noise(200, "test")
    cells = dual.cells(noise)
    assert torch.equal(dual.cells(noise, dual.average + 5), cells)
    scaled = Solver(8 * dual.targets, dual.weights, dual.seed)
    solve(scaled, steps=60)
    assert torch.allclose(scaled.average, 8 * dual.average, rtol=1e-9)
    _, in_chunks = winners(noise, dual.targets, dual.average, rows=7, cached=7 * 30)
    assert torch.equal(in_chunks[:, 0], cells)


def test_the_map_is_monotone():
    """The gradient of a convex function, whatever the potential."""
    dual = problem(30, 3)
    dual.average = torch.randn(30, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    x = dual.noise(100, "test")
    y = dual.targets[dual.cells(x)]
    assert ((x[:, None] - x) * (y[:, None] - y)).sum(2).min() >= -1e-12


def test_norm_start_beats_zero():
    targets = problem(300, 16)
    targets.targets *= torch.linspace(0.2, 2, 300, dtype=torch.float64)[:, None]
    zero = chi_square(targets.counts(targets.noise(8192, "test")), targets.weights)
    targets.start(4096, 0.2)
    assert chi_square(targets.counts(targets.noise(8192, "test")), targets.weights) < 0.2 * zero


def test_a_potential_that_is_quadratic_is_prolonged_exactly():
    generator = torch.Generator().manual_seed(3)
    targets = torch.randn(500, 5, dtype=torch.float64, generator=generator)
    rows = torch.randperm(500, generator=generator)[:120]
    slope = torch.arange(1, 6, dtype=torch.float64)
    potential = targets @ slope + targets.square() @ slope.flip(0) - 3 * targets.norm(dim=1) + 2
    whole = prolonged(targets, rows, potential[rows])
    expected = potential - potential.mean()
    assert torch.allclose(whole, expected, atol=1e-5)


def test_a_smooth_start_beats_the_start_by_norms():
    dual = problem(2000, 8)
    dual.targets *= torch.linspace(0.3, 2, 8, dtype=torch.float64)
    noise = dual.noise(20_000, "test")
    by_norms, _ = norm_start(dual, noise)
    dual.start(4096, 0.2)
    found = chi_square(dual.counts(noise), dual.weights)
    assert found < by_norms / 2
    # Worth about the samples that gradient steps would need for it.
    assert dual.head == pytest.approx(2000 / (4096 * found), rel=0.5)


def test_checks_thin_out():
    checks = [k for k in range(1, 1001) if is_check(k)]
    assert checks == [50, 71, 100, 142, 200, 283, 400, 566, 800]
    assert [k for k in range(1, 142) if is_spaced(k, 50, 4)] == [50, 60, 71, 85, 100, 119]
    assert [k for k in range(1, 40) if is_spaced(k, 1)] == [1, 2, 3, 4, 6, 8, 12, 16, 23, 32]


def test_steps_are_futile_where_the_fall_is_too_slow():
    assert is_futile(3.0, 3.1, 50, 0.01)  # no fall
    assert is_futile(0.24, 0.215, 5000, 0.01)  # at a tenth a check it would be 0.17 at the horizon
    assert not is_futile(0.03, 0.02, 100, 0.01)  # a third a check is as images fall
    assert not is_futile(0.021, 0.025, 100, 0.01)  # near the target a check is too noisy to tell
    assert not is_futile(math.inf, 50.0, 50, 0.01)


def test_where_gradient_steps_stall_newton_steps_reach_the_closed_form_on_a_line_in_the_plane():
    """16 points with gaps of all sizes: the borders between cells are the quantiles of N(0, 1)."""
    m = 16
    line = problem(m, 1)
    dual = Solver(
        torch.cat([line.targets, torch.zeros_like(line.targets)], 1), line.weights, line.seed
    )
    dual.solve(1000, 4096, 0.2, 0.001, lambda: None)
    assert dual.averaged >= 0
    assert dual.chi2 <= 0.001
    borders = borders_of(dual)
    assert np.abs(norm.cdf(borders) - np.arange(1, m) / m).max() < 0.01


def borders_of(dual):
    """Scores of neighbours are equal at a border x: x y_j + h_j = x y_k + h_k."""
    order = dual.targets[:, 0].argsort()
    y = dual.targets[order, 0].numpy()
    h = dual.average[order].numpy()
    return -np.diff(h) / np.diff(y)


def test_on_the_line_the_closed_form_is_taken():
    weights = torch.arange(1, 41, dtype=torch.float64) / 820
    targets = torch.randn(40, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    dual = Solver(targets - weights @ targets, weights, 3)
    dual.solve(1000, 4096, 0.2, 0.01, lambda: None)
    assert dual.step == 0
    assert dual.chi2 <= 0.01
    order = targets[:, 0].argsort()
    quantiles = norm.ppf(weights[order].cumsum(0)[:-1].numpy())
    np.testing.assert_allclose(borders_of(dual), quantiles, rtol=1e-6, atol=1e-9)


def test_a_lucky_check_must_be_confirmed_on_fresh_noise():
    """The reported chi-square is that of the larger check, so it is not the least of many."""
    dual = problem(30, 3)
    asked = []
    values = iter([0.5, 0.001, 0.3, 0.002, 0.006])

    def check(batch, target, stream_name="check", times=1):
        asked.append(stream_name)
        dual.chi2 = next(values)
        dual.confirmed = False

    dual.check = check
    dual.start = lambda batch, rate: None
    dual.descend = lambda batch, rate: setattr(dual, "step", dual.step + 1)
    dual.solve(1000, 64, 0.2, 0.01, lambda: None)
    assert asked == ["check", "check", "confirm", "check", "confirm"]
    assert dual.chi2 == 0.006
    assert dual.confirmed
    before = dual.step
    dual.solve(1000, 64, 0.2, 0.01, lambda: None)  # resumed when done: nothing is measured again
    assert dual.step == before
    assert len(asked) == 5
