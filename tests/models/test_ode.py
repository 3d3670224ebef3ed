"""The sampling ODE in the coordinates of EDM and of flow matching."""

import math

import pytest
import torch
from torch import nn

from models.analytic import GaussianMixture
from models.denoiser import Denoiser
from models.guidance.guide import Guidance, Guide
from models.objectives.edm import EDM
from models.objectives.flow import Flow
from models.ode import CountNFE, FlowODE, SigmaODE
from models.samplers.euler import euler
from models.samplers.heun import heun
from models.schedules.flow import Flow as FlowSchedule
from models.schedules.karras import karras_sigmas

REAL = GaussianMixture(
    torch.tensor([[0.5, -0.3]]).double(), torch.tensor([0.4]).double(), torch.ones(1).double()
)
FAKE = GaussianMixture(
    torch.tensor([[-0.2, 0.1]]).double(), torch.tensor([0.7]).double(), torch.ones(1).double()
)


class Velocity(nn.Module):
    """A raw network: an affine map of state and time."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x, c_noise, labels, augment_labels):
        flat = torch.cat([x.flatten(1), c_noise[:, None]], dim=1)
        return self.linear(flat).tanh().reshape(x.shape)


@pytest.fixture
def raw(seeded):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Velocity()


@pytest.fixture
def latents(seeded):
    return torch.randn(5, 2, 1, 1, generator=seeded())


@torch.no_grad()
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_eulers_method_in_t_is_the_loop_that_everyone_writes(raw, latents, shift):
    """From pure noise at t = 1, the network is the velocity."""
    steps = 20
    count = CountNFE(Denoiser(raw, Flow()))
    times = FlowSchedule(shift=shift).times(steps, 0.002, math.inf)
    got = euler(FlowODE(count), latents, times)
    z = latents.clone()
    t = torch.linspace(1, 0, steps + 1)
    t = shift * t / (1 + (shift - 1) * t)
    for i in range(steps):
        velocity = raw(z, t[i].expand(5), None, None)
        z = z + (t[i + 1] - t[i]) * velocity
    torch.testing.assert_close(got.float(), z, rtol=1e-6, atol=1e-6)
    assert count.nfe == steps


@torch.no_grad()
def test_a_network_of_edm_is_told_the_highest_level_at_pure_noise(raw, latents):
    """Its state stays pure noise; a network of flow matching sees t = 1 itself."""
    net = Denoiser(raw, EDM())
    seen = []
    ode = FlowODE(net, observe=seen.append, highest=80 / 81)
    ode.first_slope(latents.double(), 1.0)
    assert torch.equal(seen[0].z, latents.double())
    expected = net(latents.double() * 81, 80.0).double()
    torch.testing.assert_close(seen[0].denoised, expected, rtol=1e-4, atol=1e-4)
    flow = FlowODE(Denoiser(raw, Flow()))
    slope = flow.first_slope(latents.double(), 1.0)
    torch.testing.assert_close(slope.float(), raw(latents, torch.ones(5), None, None))


@torch.no_grad()
@pytest.mark.parametrize("objective", [EDM(), Flow()])
def test_either_network_is_sampled_in_either_coordinates(raw, latents, objective):
    """A fine solution ends at the same images; what differs is the part above sigma 80."""
    net = Denoiser(raw, objective)
    in_sigma = heun(SigmaODE(net), latents, karras_sigmas(400))
    highest = 1.0 if objective.at_pure_noise else 80 / 81
    times = FlowSchedule(shift=3.0).times(400, 0.002, math.inf)
    in_flow = heun(FlowODE(net, highest=highest), latents, times)
    torch.testing.assert_close(in_flow, in_sigma, rtol=0, atol=0.05)


def exact_logit(x, sigma, labels=None):
    """Log ratio of the densities of real and generated points at levels sigma ``[n]``."""
    flat = x.flatten(1)
    logits = []
    for world in (REAL, FAKE):
        variance = world.std**2 + sigma**2
        distance = (flat - world.means).square().sum(1)
        logits.append(-distance / (2 * variance) - variance.log())
    return logits[0] - logits[1]


def test_guidance_is_the_same_field_in_both_coordinates(latents):
    """With an exact ratio, weight 1 at both evaluations turns generated points into real ones."""
    guide = Guide(Guidance(exact_logit, window=(0.0, math.inf)), weight=1.0, second=1.0)
    points = latents.repeat(4, 1, 1, 1)
    times = FlowSchedule(shift=2.0).times(400, 0.002, math.inf) * (80 / 81)
    guided = heun(FlowODE(FAKE.denoise, guide=guide), points, times)
    expected = heun(FlowODE(REAL.denoise), points, times)
    torch.testing.assert_close(guided, expected, rtol=0, atol=5e-3)
    unguided = heun(FlowODE(FAKE.denoise), points, times)
    assert (unguided - expected).abs().max() > 0.1


def test_weight_0_is_unguided_bit_for_bit_in_flow_coordinates(latents):
    guidance = Guidance(exact_logit)
    times = FlowSchedule().times(6, 0.002, math.inf)
    plain = heun(FlowODE(FAKE.denoise, highest=0.99), latents, times)
    silent = FlowODE(FAKE.denoise, guide=Guide(guidance, weight=0.0), highest=0.99)
    assert torch.equal(heun(silent, latents, times), plain)
    assert guidance.passes == 0
