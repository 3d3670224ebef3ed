"""Path energies against closed forms of Gaussians, a loop of Euler steps, and the plain sum."""

import dataclasses
import math

import pytest
import torch

from bench.config import EvaluationConfig, RunConfig
from bench.data import Dataset, Split
from bench.evaluation.loop import evaluate
from bench.metrics.path_energy import PathEnergy, mean_energy
from bench.process.ranks import Ranks
from bench.record import RunFolder
from bench.sampling.setting import Setting
from models import edm as networks
from models.analytic import GaussianMixture
from models.ode import FlowODE, SigmaODE
from models.samplers.euler import euler
from models.samplers.heun import heun
from models.samplers.midpoint import midpoint
from models.schedules.flow import Flow
from models.schedules.karras import Karras

LOW, HIGH = 0.002, 80.0
MEAN = torch.tensor([0.7, -0.2]).double()
STD = 0.4


def normal(n, seed=0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, generator=g, dtype=torch.float64)


class Straight:
    """The exact denoiser of the pairs (n, MEAN + STD n): the optimal transport map of Gaussians.

    z = (1 - t) (MEAN + STD n) + t n, which is solved for n.
    """

    def __call__(self, x, sigma, labels=None):
        return MEAN + STD * (x - MEAN) / (STD + sigma)

    def at_time(self, z, t, labels=None):
        return MEAN + STD * (z - (1 - t) * MEAN) / ((1 - t) * STD + t)


class Bent:
    """The exact denoiser of independent pairs of N(0, I) and N(0, STD^2 I)."""

    def __call__(self, x, sigma, labels=None):
        return STD**2 / (STD**2 + sigma**2) * x

    def at_time(self, z, t, labels=None):
        return STD**2 * (1 - t) / (STD**2 * (1 - t) ** 2 + t**2) * z


def energies(sampler, denoise, latents, schedule, steps) -> torch.Tensor:
    """Energy of every path ``[n]``."""
    observer = PathEnergy()
    ode = FlowODE if schedule.coordinates == "flow" else SigmaODE
    top = math.inf if schedule.coordinates == "flow" else HIGH
    images = sampler(ode(denoise, observe=observer), latents, schedule.times(steps, LOW, top))
    observer.end(images.float())
    return observer.per_sample()["path_energy"]


@pytest.mark.parametrize("sampler", [euler, midpoint, heun])
@pytest.mark.parametrize("steps", [2, 7, 64])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_straight_coupling_takes_the_squared_distance_of_its_pairs(sampler, steps, shift):
    """However many steps: |n - T(n)|^2 of each, and |MEAN|^2 + d (1 - STD)^2 in the mean."""
    latents = normal(20_000)
    found = energies(sampler, Straight(), latents, Flow(shift=shift), steps)
    expected = (latents - MEAN - STD * latents).square().sum(1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    exact = MEAN.square().sum().item() + 2 * (1 - STD) ** 2
    # Four standard errors of the mean over the latents.
    room = 4 * expected.std().item() / math.sqrt(len(latents))
    assert found.mean().item() == pytest.approx(exact, abs=room)


def test_independent_pairs_take_the_closed_form():
    """z = q(t) n with q^2 = STD^2 (1 - t)^2 + t^2, and int q'^2 dt = 1 + STD^2 - STD pi / 2."""
    latents = normal(50)
    per_square = 1 + STD**2 - STD * math.pi / 2
    expected = per_square * latents.square().sum(1)
    found = energies(heun, Bent(), latents, Flow(), 256)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)
    # More than the optimal map of the same Gaussians takes.
    assert per_square > (1 - STD) ** 2 + 0.05


def test_the_range_of_sigma_is_the_same_path():
    """Along Karras' schedule, with the ray from pure noise to sigma_max: within a thousandth."""
    latents = normal(50)
    along_t = energies(heun, Bent(), latents, Flow(), 512)
    along_sigma = energies(heun, Bent(), latents, Karras(), 512)
    torch.testing.assert_close(along_sigma, along_t, rtol=2e-3, atol=0)


def test_euler_in_time_is_the_mean_of_squared_velocities():
    """The sum over the steps of |v|^2 / steps, from a loop that knows no sampler of ours."""
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.5]]).double()
    world = GaussianMixture(means, torch.full((2,), 0.1).double(), torch.full((2,), 0.5).double())
    latents, steps = normal(30), 25
    z = latents.clone()
    expected = torch.zeros(len(z), dtype=torch.float64)
    for k in range(steps):
        t = 1 - k / steps
        if k:
            sigma = torch.tensor(t / (1 - t)).double()
            denoised = world.denoise(z * (1 + sigma), sigma)
        else:
            denoised = means.mean(0).expand_as(z)  # pure noise says nothing of the image
        velocity = (z - denoised) / t
        expected += velocity.square().sum(1) / steps
        z = z - velocity / steps

    class World:
        def __call__(self, x, sigma, labels=None):
            return world.denoise(x, sigma)

        def at_time(self, z, t, labels=None):
            if t == 1:
                return means.mean(0).expand_as(z)
            return world.denoise(z / (1 - t), t / (1 - t))

    found = energies(euler, World(), latents, Flow(), steps)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sampler", [euler, midpoint, heun])
def test_no_path_takes_less_than_the_straight_line_between_its_ends(sampler):
    latents = normal(100)
    observer = PathEnergy()
    times = Flow().times(6, LOW, math.inf)
    images = sampler(FlowODE(Bent(), observe=observer), latents, times)
    observer.end(images)
    straight = (latents - images).square().sum(1)
    assert (observer.per_sample()["path_energy"] > straight + 1e-6).all()


def test_coordinates_are_summed_and_samples_averaged():
    latents = normal(40)
    single = energies(euler, Bent(), latents, Flow(), 5)
    double = energies(euler, Bent(), latents.repeat(1, 2), Flow(), 5)
    torch.testing.assert_close(double, 2 * single, rtol=1e-6, atol=0)
    assert mean_energy({"path_energy": single}) == pytest.approx(single.mean().item())


def test_a_sampler_that_shows_no_points_has_none():
    observer = PathEnergy()
    observer.end(normal(3))
    assert observer.per_sample() == {}


def points(n=60) -> Dataset:
    images = (0.5 * normal(2 * n, 5)).float().reshape(-1, 2, 1, 1)
    labels = torch.zeros(n, dtype=torch.int64)
    return Dataset("toy", Split(images[:n], labels), Split(images[n:], labels), 1, bounded=False)


def test_only_plain_steps_in_the_plane_are_watched():
    data = points()
    pictures = dataclasses.replace(
        data, train=Split(torch.zeros(3, 1, 4, 4), torch.zeros(3, dtype=torch.int64))
    )
    setting = Setting("heun", 5, 7.0)
    assert PathEnergy.watches(data, setting)
    assert not PathEnergy.watches(pictures, setting)
    for other in (
        Setting("dopri5"),
        Setting("euler-maruyama", 5, 7.0),
        dataclasses.replace(setting, start="expressway:sigma=1.0"),
        dataclasses.replace(setting, guidance="x-w1"),
    ):
        assert not PathEnergy.watches(data, other)


class NoPoints:
    """Source of a sampler that evaluates the denoiser without showing any point."""

    text = '''
from dataclasses import dataclass

from models.samplers.contract import Sampler, intervals


@dataclass(frozen=True, kw_only=True)
class Silent(Sampler):
    """Euler's method that shows nothing to observers."""

    def steps(self, nfe):
        return nfe

    def __call__(self, ode, latents, times, streams=()):
        state = ode.start(latents, times)
        for time, following in intervals(times):
            state = state + (following - time) * ode.second_slope(state, time)
        return state
'''


@pytest.fixture
def silent(tmp_path, monkeypatch):
    (tmp_path / "quiet_package").mkdir()
    (tmp_path / "quiet_package" / "__init__.py").touch()
    (tmp_path / "quiet_package" / "silent.py").write_text(NoPoints.text)
    monkeypatch.syspath_prepend(tmp_path)
    return "quiet_package.silent"


def test_an_evaluation_records_the_dense_paths_and_those_of_each_sampler(tmp_path, silent):
    asked = dataclasses.replace(
        EvaluationConfig(),
        nfe=(5, 7),
        samplers=("euler", silent),
        samples=30,
        trajectories=20,
        reference_steps=16,
        rhos=(),
        metrics=("paths",),
    )
    net = networks.small(1, 2, model_channels=8, channel_mult=(1,)).eval()
    config = RunConfig("toy", evaluation=asked)
    rows = evaluate(
        config, net, points(), [], Ranks(0, 1, "cpu"), RunFolder(tmp_path), progress=False
    )
    found = {}
    for row in rows:
        if row.metric.endswith(("path_energy", "npe")):
            found[row.metric, row.sampler, row.nfe] = (row.value, row.n)
    assert {key: n for key, (_, n) in found.items()} == {
        ("path_energy", "heun", 31): 20,
        ("npe", "heun", 31): 20,
        ("sampler_path_energy", "euler", 5): 30,
        ("sampler_npe", "euler", 5): 30,
        ("sampler_path_energy", "euler", 7): 30,
        ("sampler_npe", "euler", 7): 30,
    }
    assert all(value > 0 for value, _ in found.values())
