"""Classifier-free guidance against closed forms, with the exact denoisers of a Gaussian mixture."""

import pytest
import torch

from models.analytic import GaussianMixture
from models.classifier_free import ClassifierFree, network_evaluations
from models.ode import CountNFE, FlowODE, SigmaODE

WORLD = GaussianMixture(
    torch.tensor([[-0.5, 0.2], [0.4, 0.6], [0.1, -0.7]]).double(),
    torch.tensor([0.3, 0.2, 0.25]).double(),
    torch.tensor([0.5, 0.3, 0.2]).double(),
)
LABELS = torch.eye(3).double().repeat(4, 1)  # [12, 3]: every class


def of_class(x, sigma, labels):
    """The posterior mean of one Gaussian, from completing the square."""
    shrink = (labels @ WORLD.std**2 / (labels @ WORLD.std**2 + sigma**2))[:, None]
    mean = labels @ WORLD.means
    return mean + shrink * (x - mean)


def denoise(x, sigma, labels=None):
    return WORLD.denoise(x, sigma) if labels is None else of_class(x, sigma, labels)


def log_densities(x, sigma, labels):
    """Logarithms ``[n]`` of p(x; sigma) and of p(x; sigma | c)."""
    spread = (WORLD.std**2 + sigma**2).sqrt()
    each = torch.distributions.Normal(WORLD.means, spread[:, None]).log_prob(x[:, None]).sum(2)
    return (each + WORLD.weights.log()).logsumexp(1), (labels * each).sum(1)


@pytest.fixture
def states(seeded):
    return torch.randn(12, 2, generator=seeded(1), dtype=torch.float64)


@pytest.mark.parametrize("weight", [-0.5, 0.0, 0.3, 1.0, 2.0, 7.5])
@pytest.mark.parametrize("sigma", [0.05, 0.6, 20.0])
def test_the_guided_denoiser_is_that_of_the_tilted_density(states, weight, sigma):
    """Its score is that of p(x)^(1 - w) p(x | c)^w, by Tweedie's formula for each of the two."""
    x = states.clone().requires_grad_()
    without, given = log_densities(x, sigma, LABELS)
    (score,) = torch.autograd.grad(((1 - weight) * without + weight * given).sum(), x)
    level = torch.tensor(sigma, dtype=torch.float64)
    guided = ClassifierFree(denoise, weight)(states, level, LABELS)
    assert torch.allclose(guided, states + sigma**2 * score, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("ode", [SigmaODE, FlowODE])
def test_velocities_are_guided_by_the_same_formula(states, ode):
    weight = 3.0
    time = 0.7
    plain = ode(denoise, LABELS).first_slope(states, time)
    without = ode(denoise).first_slope(states, time)
    guided = ode(ClassifierFree(denoise, weight), LABELS).first_slope(states, time)
    assert torch.allclose(guided, without + weight * (plain - without), rtol=1e-12)
    assert (plain - without).abs().max() > 0.1


@pytest.mark.parametrize("at_time", [False, True])
@pytest.mark.parametrize(("weight", "labels"), [(1, LABELS), (0, None)])
def test_weights_0_and_1_are_the_denoisers_themselves_bit_for_bit(states, weight, labels, at_time):
    # Values at which the formula would round: 1e8 swallows the digits of the other.
    counter = CountNFE(lambda x, sigma, given=None: x / 3 if given is None else 1e8 * x)
    guided = ClassifierFree(counter, weight)
    place = (states, torch.tensor(0.4))
    value = guided.at_time(*place, LABELS) if at_time else guided(*place, LABELS)
    assert counter.nfe == 1 == network_evaluations(weight)
    expected = counter.at_time(*place, labels) if at_time else counter(*place, labels)
    assert torch.equal(value, expected)


@pytest.mark.parametrize("weight", [-1.0, 0.5, 2.0])
def test_other_weights_take_two_evaluations_of_the_network(states, weight):
    counter = CountNFE(denoise)
    ClassifierFree(counter, weight)(states, torch.tensor(1.0), LABELS)
    ClassifierFree(counter, weight).at_time(states, torch.tensor(0.5), LABELS)
    assert counter.nfe == 4 == 2 * network_evaluations(weight)


def test_a_larger_weight_moves_further_to_the_class(states):
    """Of one Gaussian against the mixture, at high noise: both denoisers are their means."""
    overall = (WORLD.weights[:, None] * WORLD.means).sum(0)
    moved = ClassifierFree(denoise, 4.0)(states, torch.tensor(1e4), LABELS)
    expected = overall + 4 * (LABELS @ WORLD.means - overall)
    assert torch.allclose(moved, expected, atol=1e-6)
