"""Guidance against closed forms: Gaussians whose density ratio is known at every noise level."""

import math
from dataclasses import replace

import pytest
import torch

from models.analytic import GaussianMixture
from models.guidance.discriminator import Discriminator, Head, HeadOptions, draw_log_uniform_sigma
from models.guidance.guide import CLIP, WINDOW, Boost, Guidance, Guide, Term, clipped_log_ratio
from models.ode import SigmaODE
from models.samplers.contract import CountNFE
from models.samplers.euler import euler
from models.samplers.heun import heun
from models.schedules.karras import karras_sigmas

STEPS = 1000
REAL_MEAN, REAL_STD = torch.tensor([0.3, -0.2], dtype=torch.float64), 0.5
FAKE_MEAN, FAKE_STD = torch.tensor([-0.1, 0.2], dtype=torch.float64), 0.8


def gaussian(mean, std) -> GaussianMixture:
    return GaussianMixture(mean[None], torch.tensor([std]).double(), torch.ones(1).double())


REAL, FAKE = gaussian(REAL_MEAN, REAL_STD), gaussian(FAKE_MEAN, FAKE_STD)


def log_density(x, sigma, mean, std):
    variance = std**2 + sigma.double() ** 2
    distance = (x.double().flatten(1) - mean).square().sum(1)
    return -distance / (2 * variance) - variance.log()  # two dimensions, without the constant


def exact_logit(x, sigma, labels=None):
    real, fake = ((REAL_MEAN, REAL_STD), (FAKE_MEAN, FAKE_STD))
    return (log_density(x, sigma, *real) - log_density(x, sigma, *fake)).float()


def exact_slope(x, sigma):
    """-sigma grad log r, by hand: grad log p = (mean - x) / variance."""
    flat = x.double().flatten(1)
    of_real = (REAL_MEAN - flat) / (REAL_STD**2 + sigma**2)
    of_fake = (FAKE_MEAN - flat) / (FAKE_STD**2 + sigma**2)
    return (-sigma * (of_real - of_fake)).reshape(x.shape)


class Identity(torch.nn.Module):
    """Points are their own features, with their squares: enough for the ratio of two Gaussians."""

    def forward(self, x_in, sigma):
        return torch.cat([x_in, x_in**2], dim=1)


@pytest.fixture(scope="module")
def trained() -> Discriminator:
    """A discriminator of noisy draws of the two Gaussians, trained as arms train theirs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Discriminator(Identity(), Head(4, HeadOptions(width=32)))
    optimizer, g = torch.optim.Adam(net.head.parameters(), lr=0), torch.Generator().manual_seed(0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=STEPS)
    is_real = (torch.arange(512) < 256).float()
    for _ in range(STEPS):
        x = torch.cat([REAL.sample(256, g), FAKE.sample(256, g)]).float()[:, :, None, None]
        sigma = draw_log_uniform_sigma(512, g, 0.03, 3.0)
        x = x + sigma[:, None, None, None] * torch.randn(x.shape, generator=g)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x, sigma), is_real)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False)


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.5, 1.0])
def test_trained_guidance_points_along_the_exact_gradient(trained, sigma, seeded):
    g = seeded()
    x = FAKE.sample(500, g) + sigma * torch.randn(500, 2, generator=g, dtype=torch.float64)
    with torch.no_grad():  # as in a sampler
        found = Guidance(trained)(sigma, x[:, :, None, None]).slope.flatten()
    expected = exact_slope(x, sigma).flatten()
    assert torch.cosine_similarity(found, expected, dim=0) > 0.95
    assert found.norm() == pytest.approx(expected.norm().item(), rel=0.3)


def test_term_of_an_exact_discriminator_is_the_closed_form(seeded):
    x = torch.randn(6, 2, 1, 1, generator=seeded(), dtype=torch.float64)
    term = Guidance(exact_logit)(0.7, x)
    torch.testing.assert_close(term.slope, exact_slope(x, 0.7), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(term.log_ratio, exact_logit(x, torch.full((6,), 0.7)).double())


@pytest.mark.parametrize("sampler", [euler, heun])
def test_exact_guidance_makes_a_fake_denoiser_draw_real_samples(sampler, seeded):
    """Guided throughout, at both evaluations: the score is then the real one's, up to the steps'
    error.
    """
    latents = torch.randn(2000, 2, 1, 1, generator=seeded())
    guide = Guide(Guidance(exact_logit, window=(0.0, math.inf)), weight=1.0, second=1.0)
    guided = sampler(SigmaODE(FAKE.denoise, guide=guide), latents, karras_sigmas(120))
    expected = sampler(SigmaODE(REAL.denoise), latents, karras_sigmas(120))
    torch.testing.assert_close(guided, expected, atol=2e-3, rtol=0)


def test_trained_guidance_moves_mean_and_variance_at_least_half_way(trained, seeded):
    latents = torch.randn(2000, 2, 1, 1, generator=seeded())
    unguided, guided = (
        heun(SigmaODE(FAKE.denoise, guide=guide), latents, karras_sigmas(24)).flatten(1)
        for guide in (None, Guide(Guidance(trained), weight=1.0, second=1.0))
    )
    gap = (unguided.mean(0) - REAL_MEAN).norm()
    assert gap > 0.4
    assert (guided.mean(0) - REAL_MEAN).norm() < gap / 2
    excess = unguided.var(0).mean() - REAL_STD**2
    assert excess > 0.3
    assert (guided.var(0).mean() - REAL_STD**2).abs() < excess / 2


@pytest.mark.parametrize("sampler", [euler, heun])
def test_weight_0_is_unguided_bit_for_bit_and_costs_nothing(sampler, seeded):
    latents, guidance = torch.randn(4, 2, 1, 1, generator=seeded()), Guidance(exact_logit)
    plain = sampler(SigmaODE(FAKE.denoise), latents, karras_sigmas(6))
    assert torch.equal(
        sampler(
            SigmaODE(FAKE.denoise, guide=Guide(guidance, weight=0.0)), latents, karras_sigmas(6)
        ),
        plain,
    )
    assert guidance.passes == 0
    assert not torch.equal(
        sampler(SigmaODE(FAKE.denoise, guide=Guide(guidance)), latents, karras_sigmas(6)), plain
    )


def test_passes_are_those_of_the_first_evaluations_in_the_window(seeded):
    latents, sigmas = torch.randn(3, 2, 1, 1, generator=seeded()), karras_sigmas(18)
    guidance, denoise = Guidance(exact_logit), CountNFE(FAKE.denoise)
    heun(SigmaODE(denoise, guide=Guide(guidance, 2.0)), latents, sigmas)
    assert (denoise.nfe, guidance.passes) == (35, 15)  # the paper's 15 of 18 steps
    heun(SigmaODE(denoise, guide=Guide(guidance, 2.0, second=1.0)), latents, sigmas)
    assert guidance.passes == 15 + 15 + 14


def test_outside_the_window_nothing_is_asked():
    def refuse(*_):
        raise AssertionError("asked")

    term = Guidance(refuse)(WINDOW[0] * 0.99, torch.ones(3, 2, 1, 1))
    assert torch.equal(term.slope, torch.zeros(3, 2, 1, 1).double())
    assert torch.equal(term.log_ratio, torch.zeros(3).double())


def test_a_sigma_for_each_sample_is_windowed_sample_by_sample(seeded):
    x, sigma = (
        torch.randn(3, 2, 1, 1, generator=seeded()).double(),
        torch.tensor([0.01, 0.5, 3.0]).double(),
    )
    term = Guidance(exact_logit)(sigma, x)
    assert torch.equal(term.slope[0], torch.zeros(2, 1, 1).double())
    for k in (1, 2):
        torch.testing.assert_close(
            term.slope[k : k + 1], exact_slope(x[k : k + 1], sigma[k]), rtol=1e-4, atol=1e-5
        )


def test_log_ratio_is_clipped_with_no_gradient_beyond():
    logit = torch.tensor([-30.0, 1.0, 30.0], requires_grad=True)
    clipped = clipped_log_ratio(logit)
    bound = math.log((1 - CLIP) / CLIP)
    torch.testing.assert_close(clipped.detach(), torch.tensor([-bound, 1.0, bound]))
    clipped.sum().backward()
    assert logit.grad.tolist() == [0, 1, 0]


def constant(log_ratio):
    """Guidance by a ratio that says the same everywhere, with slope 1."""
    return lambda sigma, x, labels: Term(
        torch.ones_like(x), torch.full((len(x),), log_ratio).double()
    )


def streams(n):
    return tuple(torch.Generator().manual_seed(k) for k in range(n))


def test_boosting_leaves_samples_alone_that_look_real(seeded):
    latents, sigmas, guide = (
        torch.randn(4, 2, generator=seeded()),
        karras_sigmas(12),
        Guide(constant(0.5), 0.3),
    )
    boosted = heun(
        SigmaODE(FAKE.denoise, guide=replace(guide, boost=Boost())),
        latents,
        sigmas,
        streams=streams(4),
    )
    torch.testing.assert_close(
        boosted, heun(SigmaODE(FAKE.denoise, guide=guide), latents, sigmas), rtol=0, atol=1e-12
    )


def test_boosting_doubles_guidance_on_even_steps_and_churns_every_fifth(seeded):
    """A denoiser that follows the state leaves guidance and noise alone to move it."""
    latents, sigmas = torch.zeros(2, 2), karras_sigmas(4)
    guide = Guide(constant(-0.5), 1.0)
    follow = lambda x, sigma, labels: x  # noqa: E731
    quiet = heun(
        SigmaODE(follow, guide=replace(guide, boost=Boost())), latents, sigmas, streams=streams(2)
    )
    spans = sigmas.diff()
    factor = (
        torch.tensor([2.0, 1.0, 2.0, 1.0]).double() * torch.tensor([0.5, 0.5, 0.5, 1.0]).double()
    )
    torch.testing.assert_close(quiet[0, 0], (factor * spans).sum())  # Heun halves all but the last
    churned = replace(guide, boost=Boost(churn_every=2))
    noisy = [
        heun(SigmaODE(follow, guide=churned), latents, sigmas, streams=streams(2)) for _ in range(2)
    ]
    assert torch.equal(noisy[0], noisy[1])
    gamma = math.sqrt(2) - 1  # of S_churn 4 in 4 steps
    noise = torch.randn(2, generator=torch.Generator().manual_seed(0))
    raised = sigmas[2] * (1 + gamma)
    # 2 * 1/2 of the longer step
    moved = (raised**2 - sigmas[2] ** 2).sqrt() * noise.double() - (raised - sigmas[2])
    torch.testing.assert_close(noisy[0][0] - quiet[0], moved)


def test_boosting_gives_a_sample_the_same_noise_in_any_company():
    """The second sample looks generated from the middle on; the first, at one of the two churns, or
    never, at both.
    """
    sigmas, guide = karras_sigmas(6), lambda logit: Guide(Guidance(logit), 1.0)

    def late(x, sigma, labels):  # generated below sigma 5 only
        return torch.where(sigma > 5, 0.1, -0.1) + 0 * x.sum(1)

    def boost(logit, n, first):
        churned = replace(guide(logit), boost=Boost(churn_every=2))
        own = streams(2)[first : first + n]
        return heun(
            SigmaODE(lambda x, s, c: x, guide=churned), torch.ones(n, 2), sigmas, streams=own
        )

    company = lambda x, sigma, labels: torch.where(  # noqa: E731
        torch.arange(len(x)) == 0, -0.1 + 0 * x.sum(1), late(x, sigma, labels)
    )
    torch.testing.assert_close(boost(company, 2, 0)[1:], boost(late, 1, 1))


def test_conditional_discriminator_passes_the_labels_on(seeded):
    seen = []

    def discriminator(x, sigma, labels):
        seen.append(labels)
        return x.flatten(1).sum(1)

    labels = torch.eye(3)
    Guidance(discriminator)(1.0, torch.zeros(3, 2, 1, 1), labels)
    assert seen[0] is labels


MEANS, STD = (
    torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64),
    torch.tensor([0.2, 0.2]).double(),
)
BALANCED, LOPSIDED = (
    GaussianMixture(MEANS, STD, torch.tensor([1 - s, s]).double()) for s in (0.5, 0.7)
)


def ratio_of_mixtures(x, sigma, labels=None):
    """log r of two mixtures that differ in their weights, by hand."""
    square = (x.double().flatten(1)[:, None] - MEANS).square().sum(2)  # [n, 2]
    log_density = -square / (2 * (STD**2 + sigma.double()[:, None] ** 2))
    real, fake = (
        torch.logsumexp(log_density + mixture.weights.log(), 1) for mixture in (LOPSIDED, BALANCED)
    )
    return (real - fake).float()


@pytest.mark.parametrize(
    ("weight", "second", "share"),
    [(0.0, 0.0, 0.5), (1.0, 1.0, 0.7), (1.0, 0.0, 0.6), (2.0, 0.0, 0.7), (0.5, 0.5, 0.6)],
)
def test_a_weight_at_the_first_evaluation_only_counts_half(weight, second, share, seeded):
    """Halves of log r lie between the laws: weights w^1/2 give 1 / (1 + (3/7)^1/2) = 0.604 of the
    larger mode.

    Four standard errors of 4,000 samples are 0.03; 72 steps, for weight 2 at the first only is an
    Euler step.
    """
    latents = torch.randn(4000, 2, 1, 1, generator=seeded())
    guide = Guide(Guidance(ratio_of_mixtures, window=(0.0, math.inf)), weight, second)
    images = heun(SigmaODE(BALANCED.denoise, guide=guide), latents, karras_sigmas(72))
    assert (images[:, 0] > 0).double().mean().item() == pytest.approx(share, abs=0.03)
