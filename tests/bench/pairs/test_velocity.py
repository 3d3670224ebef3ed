"""The velocity of a denoiser in training, as couplings that follow the model get it."""

import pytest
import torch

from bench import data
from bench.check import make
from bench.pairs.velocity import NetworkVelocity, following
from bench.training.state import new_state
from couplings import get
from models.schedules.contract import flow_time

N = 6


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture
def average(tiny_overrides, digits):
    """The average of a network with the last layer at random, which is zero at first."""

    def of(objective, conditional=False):
        options = {**tiny_overrides, "objective": objective, "conditional": conditional}
        net = new_state(make(None, {**options, "label_blind": conditional}), digits, "cpu").ema.net
        generator = torch.Generator().manual_seed(0)
        for weight in net.parameters():
            weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
        return net

    return of


def states():
    return torch.randn(N, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("t", [0.02, 0.5, 1.0])
def test_of_flow_matching_it_is_the_raw_network(average, t):
    net = average("flow")
    z = states()
    with torch.no_grad():
        raw = net.model(z, torch.full((N,), t), None, None)
    found = NetworkVelocity(net)(z, t, None)
    torch.testing.assert_close(found.float(), raw, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("t", [0.02, 0.5, 1.0])
def test_of_edm_it_comes_from_the_denoiser_at_the_level(average, t):
    """The mean of z - y at x = y + sigma z is (x - D) / sigma - D."""
    net = average("edm")
    z = states()
    level = min(t, flow_time(80.0))
    sigma = level / (1 - level)
    with torch.no_grad():
        denoised = net((1 + sigma) * z.double(), sigma)
    noise = ((1 + sigma) * z.double() - denoised) / sigma
    found = NetworkVelocity(net)(z, t, None)
    # At pure noise the state itself stands for the noise sample.
    expected = z.double() - denoised if t == 1 else noise - denoised
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_conditional_network_gets_the_labels(average):
    velocity = NetworkVelocity(average("flow", conditional=True))
    z = states()
    zeros = torch.zeros(N, dtype=torch.int64)
    assert not torch.equal(velocity(z, 0.5, zeros), velocity(z, 0.5, zeros + 3))


def test_only_couplings_that_follow_a_model_get_one(average):
    net = average("flow")
    lapjv = get("lapjv")
    assert following(lapjv, net) is lapjv
    assert following(get("model-aligned"), net, 0.5).model.share_done == 0.5
