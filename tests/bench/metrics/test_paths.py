"""Paths against the closed-form ones of Gaussians, straight lines and circles."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from bench.evaluation.pictures import Tangents
from bench.metrics.paths import DRIFT, PER_PATH, Paths, Place, Shape, drift_sigmas, summary
from models.analytic import GaussianMixture
from models.ode import FlowODE, Point, SigmaODE
from models.samplers.heun import heun
from models.schedules.flow import Flow
from models.schedules.karras import karras_sigmas

MEAN, STD, HIGH, LOW = 0.3, 0.5, 80.0, 0.002
GAUSSIAN = GaussianMixture(
    torch.tensor([[MEAN, MEAN]]).double(), torch.tensor([STD]).double(), torch.ones(1).double()
)


def curvature_fm(path):
    return path.per_sample()["curvature_fm"].mean().item()


@pytest.fixture
def latents():
    return torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def x_at(sigma, start):
    return MEAN + (start - MEAN) * math.sqrt((STD**2 + sigma**2) / (STD**2 + HIGH**2))


def denoised_at(sigma, start):
    return MEAN + STD**2 / (STD**2 + sigma**2) * (x_at(sigma, start) - MEAN)


def z_at(t, start):
    return x_at(t / (1 - t), start) * (1 - t)  # z = x / (1 + sigma), sigma = t / (1 - t)


def velocity_at(t, start):
    sigma = t / (1 - t)
    return (x_at(sigma, start) - denoised_at(sigma, start)) / sigma - denoised_at(sigma, start)


def closed_form(starts: np.ndarray) -> float:
    """The definition by adaptive quadrature over t, averaged over samples and dimensions."""
    last, first = LOW / (1 + LOW), HIGH / (1 + HIGH)
    values = []
    for start in starts.ravel():
        chord = (z_at(first, start) - z_at(last, start)) / (first - last)
        area = quad(
            lambda t: (velocity_at(t, start) - chord) ** 2,  # noqa: B023
            last,
            first,
            epsrel=1e-9,
            limit=200,
        )[0]
        values.append(area / (first - last))
    return float(np.mean(values))


@pytest.mark.parametrize("t", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("start", [-100.0, 5.0, 90.0])
def test_velocity_is_the_derivative_in_flow_matching_time(t, start):
    """dz/dt = (x - D) / sigma - D, by central differences."""
    h = 1e-5
    slope = (z_at(t + h, start) - z_at(t - h, start)) / (2 * h)
    sigma = t / (1 - t)
    x = torch.tensor([[x_at(sigma, start)]])
    point = Place.fm(Point(sigma, x, torch.tensor([[denoised_at(sigma, start)]])))
    assert point.time == pytest.approx(t)
    assert point.place.item() == pytest.approx(z_at(t, start), rel=1e-5)
    assert point.velocity.item() == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_curvature_of_a_gaussian_is_the_closed_form(latents):
    path = Paths()
    heun(SigmaODE(GAUSSIAN.denoise, observe=path), latents, karras_sigmas(128))
    expected = closed_form((latents * HIGH).numpy())
    assert expected > 0.01
    assert curvature_fm(path) == pytest.approx(expected, rel=2e-3)


def test_straight_path_has_none(latents):
    """All the data in one point: D is constant and the path a line at constant speed."""
    point = GaussianMixture(
        torch.tensor([[0.7, -0.2]]).double(), torch.zeros(1).double(), torch.ones(1).double()
    )
    path = Paths()
    heun(SigmaODE(point.denoise, observe=path), latents, karras_sigmas(64))
    assert curvature_fm(path) == pytest.approx(0, abs=1e-20)


def test_curvature_grows_with_the_spread_of_the_data(latents):
    """Two points apart bend the paths the more, the further apart they are."""
    values = []
    for half in (0.0, 0.5, 1.0):
        means = torch.tensor([[half, 0], [-half, 0]]).double()
        data = GaussianMixture(
            means, torch.full((2,), 0.1).double(), torch.full((2,), 0.5).double()
        )
        path = Paths()
        heun(SigmaODE(data.denoise, observe=path), latents, karras_sigmas(128))
        values.append(curvature_fm(path))
    assert values[0] < values[1] < values[2]


def test_mean_over_samples_and_dimensions(latents):
    """Chunks weighted by their size give the value of the whole; a copied dimension changes
    nothing.
    """

    def curvature(x, denoise):
        path = Paths()
        heun(SigmaODE(denoise, observe=path), x, karras_sigmas(32))
        return curvature_fm(path)

    whole = curvature(latents, GAUSSIAN.denoise)
    parts = [curvature(latents[:2], GAUSSIAN.denoise), curvature(latents[2:], GAUSSIAN.denoise)]
    assert whole == pytest.approx((2 * parts[0] + 3 * parts[1]) / 5, rel=1e-9)

    def denoise_four(x, sigma, labels):
        return torch.cat([GAUSSIAN.denoise(part, sigma) for part in x.split(2, dim=1)], dim=1)

    assert curvature(latents.repeat(1, 2), denoise_four) == pytest.approx(whole, rel=1e-9)


class Everything:
    """Keeps all points, for the definition as it stands."""

    def __init__(self):
        self.points, self.path = [], Paths()

    def __call__(self, point):
        self.points.append(Place.fm(point))
        self.path(point)

    def curvature(self) -> np.ndarray:  # [n]
        t = np.array([p.time for p in self.points])
        z, v = (
            torch.stack([getattr(p, key) for p in self.points]).flatten(2).numpy()
            for key in ("place", "velocity")
        )
        chord = (z[-1] - z[0]) / (t[-1] - t[0])
        return np.trapezoid(np.square(v - chord).mean(2), t, axis=0) / (t[-1] - t[0])


@pytest.mark.parametrize("bend", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("steps", [2, 16, 128])
@pytest.mark.parametrize("rho", [1.0, 7.0])
def test_streaming_is_the_plain_formula(steps, rho, bend):
    """To 1e-9 relative, also where the path is so straight that squares of the velocity would
    cancel.
    """
    g = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, 4, 4, generator=g, dtype=torch.float64)

    def denoise(x, sigma, labels):
        return 0.7 + bend * torch.sin(3 * x / (1 + sigma))

    both = Everything()
    heun(SigmaODE(denoise, observe=both), x, karras_sigmas(steps, rho))
    np.testing.assert_allclose(
        both.path.per_sample()["curvature_fm"].numpy(), both.curvature(), rtol=1e-9
    )
    assert curvature_fm(both.path) == pytest.approx(both.curvature().mean(), rel=1e-9)


def test_memory_does_not_grow_with_the_steps():
    """A path holds tensors of its first and its last point and one sum; of those between only
    numbers a sample.
    """
    latents = torch.randn(
        3, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )

    def held(steps):
        path = Paths()
        heun(
            SigmaODE(lambda x, sigma, labels: x / (1 + sigma**2), observe=path),
            latents,
            karras_sigmas(steps),
        )
        parts = (path.curvature_fm, path.shape_fm, path.shape_sigma)
        points = {id(p): p for part in parts for p in (part.first, part.last)}.values()
        tensors = [path.curvature_fm.area, path.last[1]] + [
            t for p in points for t in (p.place, p.velocity)
        ]
        assert len(path.drift) == steps - 1
        assert all(t.shape == (3,) for t in path.drift)
        return sum(t.untyped_storage().nbytes() for t in tensors)

    assert held(8) == held(64) == 10 * latents.untyped_storage().nbytes()


ANISOTROPIC = torch.tensor([[1.0, 0.2]]).double()


def gaussian_x(sigma, start):
    """The exact path of N(0, diag(s^2)) from ``start`` ``[n, 2]`` at HIGH: each axis shrinks by
    itself.
    """
    return start * ((ANISOTROPIC**2 + sigma**2) / (ANISOTROPIC**2 + HIGH**2)).sqrt()


def gaussian_denoised(sigma, x):
    return ANISOTROPIC**2 / (ANISOTROPIC**2 + sigma**2) * x


@pytest.fixture
def gaussian_path(latents):
    path = Paths()
    heun(
        SigmaODE(lambda x, sigma, labels: gaussian_denoised(sigma, x), observe=path),
        latents,
        karras_sigmas(256),
    )
    return path.per_sample()


@pytest.mark.parametrize("space", ["sigma", "fm"])
def test_length_and_turning_of_a_gaussian(gaussian_path, latents, space):
    """The length by quadrature; the velocity turns one way in the plane, so its angle is that
    between its ends.
    """

    def at(sigma, start):
        x = gaussian_x(sigma, start)
        return getattr(Place, space)(Point(sigma, x, gaussian_denoised(sigma, x)))

    for i, start in enumerate((HIGH * latents).split(1)):

        def speed(log_sigma, start=start):
            sigma = math.exp(log_sigma)
            per_sigma = 1 if space == "sigma" else 1 / (1 + sigma) ** 2  # dt / dsigma
            return at(sigma, start).velocity.norm().item() * per_sigma * sigma

        length = quad(speed, math.log(LOW), math.log(HIGH), epsrel=1e-10, limit=200)[0]
        ends = at(HIGH, start), at(LOW, start)
        excess = length / (ends[0].place - ends[1].place).norm().item() - 1
        bearing = [math.atan2(*p.velocity[0].tolist()) for p in ends]
        turned = abs((bearing[0] - bearing[1] + math.pi) % (2 * math.pi) - math.pi)
        assert gaussian_path[f"path_excess_{space}"][i].item() == pytest.approx(
            excess, rel=5e-3, abs=1e-9
        )
        assert gaussian_path[f"turning_angle_{space}"][i].item() == pytest.approx(
            turned, rel=5e-3, abs=1e-6
        )


def test_sigma_coordinates_are_straight_where_others_are_not(latents):
    """Round Gaussian off the origin: x shrinks towards the mean along a line, but z = x / (1 +
    sigma) does not.
    """
    path = Paths()
    heun(SigmaODE(GAUSSIAN.denoise, observe=path), latents, karras_sigmas(64))
    found = path.per_sample()
    assert found["path_excess_sigma"].abs().max() < 1e-12
    assert found["turning_angle_sigma"].max() < 1e-9
    assert found["path_excess_fm"].min() > 1e-4
    assert found["turning_angle_fm"].min() > 1e-2


@pytest.mark.parametrize("turns", [0.1, 0.25, 0.9])
def test_circle(turns):
    """An arc of angle a has length a r over chord 2 r sin(a / 2), and turns by a; so does one run
    at other speeds.
    """
    angle, n = 2 * math.pi * turns, 400
    shape = Shape()
    for i in range(n + 1):
        a = angle * (i / n) ** 2  # at a growing speed
        place, tangent = (
            [3 * math.cos(a), 3 * math.sin(a)],
            [-math.sin(a) * (i + 1), math.cos(a) * (i + 1)],
        )
        shape.add(Place(float(i), *torch.tensor([[place], [tangent]], dtype=torch.float64)))
    assert shape.turned.item() == pytest.approx(angle, rel=1e-9)
    assert shape.excess.item() == pytest.approx(angle / (2 * math.sin(angle / 2)) - 1, rel=1e-3)


def test_straight_line_at_any_speed():
    shape = Shape()
    for t in (0.0, 0.1, 0.7, 3.0):
        line = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]]).double()
        shape.add(Place(t, t**3 * line, 3 * t**2 * line))  # at rest in the beginning
    assert shape.excess.abs().max() < 1e-12
    assert shape.turned.abs().max() < 1e-12


def test_angles_as_small_as_rounding_allows():
    shape = Shape()
    for angle in (0.0, 1e-12):
        velocity = torch.tensor([[math.cos(angle), math.sin(angle)]]).double()
        shape.add(Place(angle, velocity, velocity))
    assert shape.turned.item() == pytest.approx(1e-12, rel=1e-3)


def test_drift_of_a_gaussian_is_the_closed_form(gaussian_path, latents):
    """D = c s^2 / sqrt(s^2 + sigma^2) along the path, so dD / d ln sigma = -c s^2 sigma^2 / (s^2 +
    sigma^2)^(3/2).
    """
    # [points - 1, 1, 1]
    sigmas = torch.tensor(drift_sigmas(karras_sigmas(256)[:-1])).double()[:, None, None]
    c = HIGH * latents / (ANISOTROPIC**2 + HIGH**2).sqrt()
    # [points - 1, n, 2]
    exact = c * ANISOTROPIC**2 * sigmas**2 / (ANISOTROPIC**2 + sigmas**2) ** 1.5
    expected = exact.square().mean((1, 2)).sqrt()
    found = summary(gaussian_path, sigmas.flatten().tolist())
    profile = [value for (metric, sigma), value in found.items() if metric == DRIFT]
    np.testing.assert_allclose(profile, expected.numpy(), rtol=5e-3)
    assert 0.3 < sigmas[int(expected.argmax())].item() < 3  # as high as the data is wide


def test_point_of_data_has_no_drift(latents):
    point = GaussianMixture(
        torch.tensor([[0.7, -0.2]]).double(), torch.zeros(1).double(), torch.ones(1).double()
    )
    path = Paths()
    heun(SigmaODE(point.denoise, observe=path), latents, karras_sigmas(64))
    found = summary(path.per_sample(), drift_sigmas(karras_sigmas(64)[:-1]))
    assert max(map(abs, found.values())) < 1e-9


def test_drift_gives_the_local_truncation_error(latents):
    """One Euler step of h errs by h^2 / (2 sigma^2) times the drift: two clusters, against many
    small steps.
    """
    means = torch.tensor([[0.5, 0], [-0.5, 0.2]]).double()
    data = GaussianMixture(means, torch.full((2,), 0.2).double(), torch.full((2,), 0.5).double())
    path = Paths()
    levels = karras_sigmas(1024)
    where = []
    heun(
        SigmaODE(data.denoise, observe=lambda point: (path(point), where.append(point))),
        latents,
        levels,
    )
    profile = path.per_sample()[DRIFT].mean(0).sqrt()
    middle = drift_sigmas(levels[:-1])
    for i in (300, 450, 600):
        sigma, x, denoised = where[i].sigma, where[i].x, where[i].denoised
        small = torch.linspace(sigma, 0.99 * sigma, 33, dtype=torch.float64)
        fine = x
        # The midpoint rule
        for high, low in zip(small[:-1].tolist(), small[1:].tolist(), strict=True):
            half = fine + (low - high) / 2 * (fine - data.denoise(fine, torch.tensor(high))) / high
            centre = (high + low) / 2
            fine = fine + (low - high) * (half - data.denoise(half, torch.tensor(centre))) / centre
        euler = x - 0.01 * (x - denoised)
        error = (euler - fine).square().mean().sqrt().item()
        assert error == pytest.approx(0.01**2 / 2 * profile[i].item(), rel=0.05), middle[i]


def test_summary_weighs_every_sample_alike():
    a, b = ({name: torch.full((n,), v) for name in PER_PATH} for n, v in ((3, 1.0), (1, 5.0)))
    a[DRIFT], b[DRIFT] = torch.full((3, 2), 1.0), torch.tensor([[13.0, 1.0]])
    found = summary({name: torch.cat([a[name], b[name]]) for name in a}, [3.0, 0.1])
    assert found == {(name, None): 2.0 for name in PER_PATH} | {
        (DRIFT, 3.0): 2.0,
        (DRIFT, 0.1): 1.0,
    }


def test_tangents_are_where_an_euler_step_to_the_end_leads(latents):
    """Columns evenly over the points, from the first to the last; rows in the samples' order, as
    many as asked.
    """
    path = Tangents.evenly(rows=2, columns=4, points=10)
    seen = []
    heun(
        SigmaODE(GAUSSIAN.denoise, observe=lambda point: (path(point), seen.append(point))),
        latents,
        karras_sigmas(10),
    )
    tangents = path.per_sample()["tangents"]
    assert tangents.shape == (2, 4, 2)
    assert tangents.dtype == torch.float32
    for column, i in enumerate((0, 3, 6, 9)):
        sigma, x = seen[i].sigma, seen[i].x
        slope = (x - GAUSSIAN.denoise(x, torch.tensor(sigma))) / sigma
        torch.testing.assert_close(
            tangents[:, column].double(), (x - sigma * slope)[:2], atol=1e-6, rtol=1e-6
        )
    few = Tangents.evenly(rows=0, columns=10, points=3)
    heun(SigmaODE(GAUSSIAN.denoise, observe=few), latents, karras_sigmas(3))
    assert few.per_sample()["tangents"].shape == (0, 3, 2)


def test_flow_coordinates_give_the_paths_of_a_gaussian(latents):
    """From pure noise: z = m (1 - t) + n sqrt(t^2 + s^2 (1 - t)^2) with deviations from the mean,
    by quadrature; sigma is infinite at the first point, which EDM's coordinates leave out.
    """
    path = Paths()
    times = Flow().times(512, 0, math.inf)
    heun(FlowODE(GAUSSIAN.denoise, observe=path, highest=1 - 1e-9), latents, times)
    found = path.per_sample()
    assert found[DRIFT].shape == (5, 510)
    assert found[DRIFT].isfinite().all()
    levels = times[:-1] / (1 - times[:-1])
    assert len(drift_sigmas(levels)) == 510
    assert all(values.isfinite().all() for values in found.values())

    def velocity(t, noise):
        spread = math.sqrt(t**2 + STD**2 * (1 - t) ** 2)
        return -MEAN + noise * (t - STD**2 * (1 - t)) / spread

    def curvature(noise):
        first = 1 / 512
        chord = quad(velocity, first, 1, (noise,))[0] / (1 - first)
        return quad(lambda t: (velocity(t, noise) - chord) ** 2, first, 1)[0] / (1 - first)

    expected = [np.mean([curvature(n) for n in noise]) for noise in latents.tolist()]
    np.testing.assert_allclose(found["curvature_fm"].numpy(), expected, rtol=2e-3)
