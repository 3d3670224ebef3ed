import pytest
import torch
from scipy.stats import chisquare

from models.analytic import GaussianMixture
from models.ode import SigmaODE
from models.samplers.contract import CountNFE
from models.samplers.heun import heun
from models.schedules.karras import karras_sigmas
from models.starts.contract import PreparedStart
from models.starts.expressway import Expressway
from models.starts.gaussian import Gaussian
from models.starts.ot_prior import OTPrior
from models.starts.random_index import RandomIndex, random_index
from models.starts.truncated import Truncated

TARGETS = torch.arange(12.0).reshape(4, 3)


def streams(n: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed * 10_000 + i) for i in range(n)]


@pytest.fixture
def noise(seeded):
    return torch.randn(6, 3, generator=seeded())


def test_truncated_at_the_top_is_the_full_sampler(noise):
    """The same numbers, evaluation by evaluation."""
    mixture = GaussianMixture(
        torch.eye(3).double(), torch.full((3,), 0.3).double(), torch.full((3,), 1 / 3).double()
    )
    start = PreparedStart("truncated:sigma=80", Truncated(sigma=80).level(80))
    denoise = CountNFE(mixture.denoise)
    ends = heun(SigmaODE(denoise), start.latents(noise), start.sigmas(5))
    assert torch.equal(ends, heun(SigmaODE(mixture.denoise), noise, karras_sigmas(5)))
    assert denoise.nfe == 9


def test_evaluations_count_from_the_start(noise):
    start, seen = PreparedStart("truncated:sigma=0.5", 0.5), []
    denoise = CountNFE(lambda x, sigma, labels: x)
    heun(
        SigmaODE(denoise, observe=seen.append),
        start.latents(noise),
        start.sigmas(3),
    )
    assert denoise.nfe == 5
    assert seen[0].sigma == pytest.approx(0.5)
    torch.testing.assert_close(seen[0].x, 0.5 * noise.double())


def test_a_map_places_the_latents(noise):
    start = PreparedStart("expressway:sigma=0.5", 0.5, lambda z, streams, labels: TARGETS[labels])
    labels = torch.tensor([3, 0, 1, 2, 2, 1])
    torch.testing.assert_close(0.5 * start.latents(noise, labels=labels), TARGETS[labels].double())


def test_fresh_noise_has_the_deviation_of_the_level(noise):
    start = PreparedStart("x", 0.5, lambda z, streams, labels: torch.zeros_like(z), fresh=True)
    points = 0.5 * start.latents(torch.zeros(4000, 3), streams(4000))
    assert points.std() == pytest.approx(0.5, rel=0.03)
    with pytest.raises(ValueError, match="one generator for each"):
        start.latents(noise)


def test_random_index_is_uniform_and_of_its_sample_alone():
    start = PreparedStart("random-index:sigma=2", 2.0, random_index(TARGETS))
    drawn = 2 * start.latents(torch.zeros(2000, 3), streams(2000))
    counts = (drawn[:, 0] / 3).round().long().bincount(minlength=4)
    assert chisquare(counts.numpy()).pvalue > 1e-4
    assert torch.equal(drawn[5:9], 2 * start.latents(torch.zeros(4, 3), streams(2000)[5:9]))


def test_random_index_keeps_to_the_class():
    labels = torch.tensor([7, 2, 7, 2])
    start = PreparedStart("random-index:sigma=1", 1.0, random_index(TARGETS, labels))
    wanted = torch.tensor([7, 2] * 50)
    drawn = (start.latents(torch.zeros(100, 3), streams(100), wanted)[:, 0] / 3).round().long()
    assert torch.equal(labels[drawn], wanted)
    assert len(drawn.unique()) == 4


def test_levels():
    assert Gaussian().level(80.0) == 80
    assert Truncated(sigma=0.5).level(80.0) == 0.5
    assert Expressway(step=50).level(80.0) == pytest.approx(0.173, abs=1e-3)
    assert OTPrior(step=10, view="ncsnv2").level(80.0) == pytest.approx(2 * 0.01394, abs=1e-4)
    with pytest.raises(ValueError, match="at most"):
        Truncated(sigma=81.0).level(80.0)


@pytest.mark.parametrize("kind", [Truncated, RandomIndex, Expressway, OTPrior])
@pytest.mark.parametrize(
    "options", [{}, {"sigma": 0.5, "step": 3}, {"sigma": 0.0}, {"step": 0}, {"step": 1001}]
)
def test_a_jump_needs_one_level(kind, options):
    with pytest.raises(ValueError, match="sigma|step"):
        kind(**options)


def test_tau_is_no_less_than_0():
    with pytest.raises(ValueError, match="tau"):
        OTPrior(sigma=1.0, tau=-0.1)
