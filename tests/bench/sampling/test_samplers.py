"""Samplers by their spec, in a configuration and in sampling."""

import sys
from dataclasses import replace

import pytest
import torch

from bench import plugins
from bench.check import check, make
from bench.config import ConfigError, EvaluationConfig
from bench.data import load
from bench.sampling.latents import draw_latents
from bench.sampling.sample import Steering, sample
from bench.sampling.samplers import canonical, parse
from bench.sampling.schedules import parse as parse_schedule
from bench.sampling.setting import Setting
from models.analytic import GaussianMixture
from models.denoiser import Denoiser
from models.objectives.edm import EDM
from models.samplers.dopri5 import Dopri5
from models.samplers.heun import Heun

MIDPOINT = """
from dataclasses import dataclass
from models.samplers.contract import Sampler, intervals
from models.samplers.heun import heun_steps

@dataclass(frozen=True, kw_only=True)
class Midpoint(Sampler):
    share: float = 0.5

    def steps(self, nfe):
        return heun_steps(nfe)

    def __call__(self, ode, latents, times, streams=()):
        state = ode.start(latents, times)
        for time, following in intervals(times):
            slope = ode.first_slope(state, time)
            if following:
                middle = time + self.share * (following - time)
                slope = ode.second_slope(state + (middle - time) * slope, middle)
            state = state + (following - time) * slope
        return state
"""


class Exact:
    """The denoiser of two Gaussians in four pixels."""

    label_dim = 0
    objective = EDM()
    one_hot = Denoiser.one_hot
    world = GaussianMixture(
        torch.tensor([[-0.5] * 64, [0.5] * 64]).double(),
        torch.tensor([0.3, 0.2]).double(),
        torch.tensor([0.5, 0.5]).double(),
    )

    def __call__(self, x, sigma, labels=None):
        return self.world.denoise(x, sigma)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The package ``my_project`` of a user."""
    (tmp_path / "my_project").mkdir()
    (tmp_path / "my_project" / "midpoint.py").write_text(MIDPOINT)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    parse.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "my_project"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def sampled(digits, setting, **steering):
    latents = draw_latents(6, digits, seed=0)
    evaluation = make(None, {}).evaluation
    return sample(Exact(), latents, setting, evaluation, "cpu", steering=Steering(**steering))


def test_names_are_those_of_files():
    present = {"dopri5", "dpmpp-2m", "euler", "euler-maruyama", "heun", "midpoint"}
    assert present <= set(plugins.names("models.samplers"))
    assert all(
        canonical(name).partition(":")[0] == name for name in plugins.names("models.samplers")
    )


def test_the_tolerance_is_always_spelled_out():
    assert parse("dopri5") == Dopri5(tolerance=1e-4)
    assert canonical("dopri5") == "dopri5:tolerance=0.0001"
    assert canonical("dopri5:tolerance=1e-5") == "dopri5:tolerance=1e-05"


def test_settings_say_what_their_sampler_does():
    assert Setting("heun").solver == Heun()
    assert (Setting("heun").fixed_steps, Setting("heun").solves_the_ode) == (True, True)
    assert not Setting("dopri5:tolerance=0.01").fixed_steps
    assert not Setting("euler-maruyama").solves_the_ode
    assert Setting("euler", 5, 7.0).is_plain
    assert not Setting("euler", start="truncated:sigma=1.0").is_plain
    assert not Setting("euler", guidance="dg").is_plain


@pytest.mark.parametrize(
    ("spec", "nfe", "rho"),
    [
        ("heun", 7, 7.0),
        ("euler", 4, 7.0),
        ("euler-maruyama", 4, 3.0),
        ("my_project.midpoint", 7, 7.0),
        ("midpoint", 8, 7.0),
        ("dpmpp-2m", 4, 7.0),
        ("heun", 7, None),
        ("euler", 1, None),
        ("midpoint", 8, None),
        ("dpmpp-2m", 4, None),
        ("my_project.midpoint", 7, None),
    ],
)
def test_the_evaluations_are_those_asked_for(own, digits, spec, nfe, rho):
    """Along Karras' schedule, and without a rho along the flow schedule."""
    schedule = "flow:shift=2" if rho is None else None
    assert sampled(digits, Setting(spec, nfe, rho, schedule=schedule)).nfe == nfe


def test_both_coordinates_converge_to_the_same_images(digits):
    """From sigma 80 or from pure noise: the paths differ by their first hundredth."""
    in_sigma = sampled(digits, Setting("heun", 101, 7.0)).images
    in_flow = sampled(digits, Setting("heun", 401, schedule="flow:shift=3")).images
    adaptive = sampled(digits, Setting("dopri5:tolerance=1e-06", schedule="flow")).images
    assert (in_flow - adaptive).abs().max() < 2e-3
    assert (in_flow - in_sigma).abs().max() < 0.03


def test_settings_along_a_schedule():
    setting = Setting.along("karras:rho=5", "heun", 7)
    assert setting == Setting("heun", 7, 5.0)
    assert setting.column == "karras:rho=5"
    setting = Setting.along("flow:shift=3", "heun", 7)
    assert (setting.rho, setting.column) == (None, "flow:shift=3")
    assert setting.name == "heun-nfe7-flow-shift=3"
    adaptive = Setting.along("flow:shift=3", "dopri5:tolerance=0.01", None)
    assert (adaptive.column, adaptive.plan.coordinates) == ("flow", "flow")
    adaptive = Setting.along("karras:rho=7", "dopri5:tolerance=0.01", None)
    assert (adaptive.column, adaptive.plan.coordinates) == (None, "sigma")


def test_schedules_of_the_objective_are_the_default():
    """Each objective is sampled as its papers do; either can be sampled as the other."""
    assert make(None, {}).evaluation.schedules == ("karras",)
    assert make(None, {}).evaluation.fixed_schedule == "karras:rho=7"
    flow = make(None, {"objective": "flow"})
    assert flow.evaluation.fixed_schedule == "flow:shift=1"
    assert set(flow.evaluation.searched_schedules) > {"flow:shift=1", "flow:shift=3"}
    both = make(None, {"objective": "flow", "schedule": ["karras", "flow"]}).evaluation
    assert both.fixed_schedule == "karras:rho=7"
    assert len(both.searched_schedules) == len(both.rhos) + len(both.shifts)
    none = make(None, {"objective": "flow", "shifts": []}).evaluation
    assert none.searched_schedules == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"schedule": ["karas"]}, "did you mean karras"),
        ({"schedule": ["flow:shift=3"]}, "take flow with --shift and --shifts"),
        ({"objective": "flow", "shift": 1e17}, "--shift"),
        ({"objective": "flow", "shifts": [-1.0]}, "above 0"),
        ({"objective": "flow", "samplers": ["euler-maruyama"]}, "add --schedule karras"),
        ({"objective": "flow", "nfe": [4]}, "the search for the best schedule"),
        ({"schedule": ["karras", "flow"], "metrics": ["samples"]}, "add grid to --metrics"),
    ],
)
def test_schedules_that_cannot_work_are_refused(overrides, words):
    with pytest.raises(ConfigError, match=words):
        make(None, overrides)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ("torch.linspace(1, 0, steps)", "128 steps have 129 times, not a tensor .128."),
        ("torch.linspace(0, 1, steps + 1)", "must decrease"),
    ],
)
def test_times_of_a_users_schedule_are_checked_before_the_training(
    tmp_path, monkeypatch, times, words
):
    package = tmp_path / "own_times"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "broken.py").write_text(
        "from dataclasses import dataclass\nimport torch\n"
        "from models.schedules.contract import Schedule\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Broken(Schedule):\n"
        "    coordinates = 'flow'\n"
        "    def times(self, steps, sigma_min, sigma_max):\n"
        f"        return {times}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("own_times", "own_times.broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    parse_schedule.cache_clear()
    with pytest.raises(ConfigError, match=f"--schedule: own_times.broken: .*{words}"):
        make(None, {"objective": "flow", "schedule": ["own_times.broken"]})


def test_an_adaptive_sampler_needs_its_coordinates_too(monkeypatch):
    monkeypatch.setattr(type(parse("dopri5")), "coordinates", ("sigma",))
    with pytest.raises(ConfigError, match="dopri5 needs times of sigma.*--schedule karras"):
        make(None, {"objective": "flow", "samplers": ["dopri5"]})
    make(None, {"samplers": ["dopri5"]})


def test_network_files_are_sampled_as_edm_whatever_the_preset():
    """They hold networks of EDM."""
    config = make("digits-flow", {})
    assert config.evaluation.schedules == ("flow",)
    file = check(
        replace(config, evaluation=EvaluationConfig(), coupling="net", checkpoint="0" * 64)
    )
    assert file.evaluation.schedules == ("karras",)


def test_a_sampler_of_the_users_converges_to_the_adaptive_one(own, digits):
    exact = sampled(digits, Setting("dopri5:tolerance=1e-09")).images
    errors = []
    for nfe in (15, 31):
        images = sampled(digits, Setting("my_project.midpoint", nfe, 7.0)).images
        errors.append((images - exact).abs().max().item())
    assert errors[1] < errors[0] / 2
    other = sampled(digits, Setting("my_project.midpoint:share=0.6", 15, 7.0)).images
    assert not torch.equal(other, sampled(digits, Setting("my_project.midpoint", 15, 7.0)).images)


def test_a_sampler_of_the_users_is_asked_for_by_its_module(own):
    given = ["my_project.midpoint:share=0.5", "my_project.midpoint:share=0.6"]
    evaluation = make(None, {"samplers": given}).evaluation
    assert evaluation.samplers == ("my_project.midpoint", "my_project.midpoint:share=0.6")
    assert Setting(given[1], 5, 7.0).name == "my_project.midpoint-share=0.6-nfe5-rho7"
    with pytest.raises(ConfigError, match="option of my_project.midpoint"):
        make(None, {"samplers": ["my_project.midpoint:shade=1"]})


def test_a_stochastic_sampler_warns_of_a_coupled_denoiser(digits):
    setting = Setting("euler-maruyama", 3, 7.0)
    with pytest.warns(UserWarning, match="deterministic sampler"):
        sampled(digits, setting, coupled=True)
    sampled(digits, setting)
    sampled(digits, replace(setting, sampler="euler"), coupled=True)


def test_samples_of_a_denoiser_that_is_not_finite_are_nan(digits, monkeypatch):
    monkeypatch.setattr(Exact, "__call__", lambda self, x, sigma, labels=None: x * float("nan"))
    for setting in (Setting("heun", 3, 7.0), Setting("dopri5:tolerance=0.01")):
        assert sampled(digits, setting).images.isnan().all()
