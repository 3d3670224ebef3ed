"""Trainer, sampler, couplings and metrics keep their tensors on one device, and to its numbers.

The device is simulated (``tests.elsewhere``): where a ``.to(device)`` is missing, these fail.
"""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch

from bench import data
from bench.check import make
from bench.config import EvaluationConfig
from bench.metrics._learning import Effort, independent_target
from bench.metrics._reference import extract
from bench.metrics.copies import distance_to_training
from bench.pairs.couplers import couple_pool
from bench.pairs.pool import draw_pool
from bench.process.ranks import Ranks
from bench.sampling.latents import draw_latents
from bench.sampling.sample import sample
from bench.sampling.setting import Setting
from bench.training.state import new_state
from bench.training.step import Stepper
from couplings import get, names
from models import edm as networks
from tests.elsewhere import DEVICE, DeviceMismatch, elsewhere
from tests.ready import ready

TINY = {"batch": 64, "pool": 64, "model_channels": 8, "channel_mult": [1], "label_blind": True}


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def net():
    """A denoiser of 8 x 8 pixels and ten classes, not trained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return networks.small(8, 1, label_dim=10, model_channels=8, channel_mult=(1,)).eval()


def test_the_device_refuses_what_cuda_refuses():
    a = torch.arange(6.0).reshape(2, 3)
    with elsewhere():
        b = a.to(DEVICE)
        assert (b @ b.T).cpu().tolist() == (a @ a.T).tolist()
        assert b.sum().item() == 15
        for mix in (lambda: a + b, lambda: torch.cat([a, b]), lambda: a[b[0].long()]):
            with pytest.raises(DeviceMismatch):
                mix()
        with pytest.raises(DeviceMismatch):
            torch.randn(2, generator=torch.Generator(), device=DEVICE)
        assert torch.tensor([1.0, 2.0], device=DEVICE).cpu().tolist() == [1, 2]
        b[0] = 7
        assert b.cpu()[0].tolist() == [7, 7, 7]


def test_the_device_counts_what_waits_for_it():
    a = torch.arange(6.0)
    with elsewhere() as waits:
        b = a.to(DEVICE, non_blocking=True)
        b.square().sum().clamp_(max=3)
        b[torch.tensor([1, 2])] = b[:2] + 1
        assert waits == []
        reading = [
            lambda: b.sum().item(),
            lambda: float(b[0]),
            lambda: bool(b[0] > 0),
            lambda: b.tolist(),
            lambda: b.cpu(),
            lambda: b[b > 2],
            lambda: b.nonzero(),
            lambda: torch.equal(b, b),
            lambda: a.to(DEVICE),
            lambda: torch.tensor([1.0], device=DEVICE),
            lambda: b.copy_(a),
        ]
        for number, read in enumerate(reading, 1):
            read()
            assert len(waits) == number


@pytest.mark.parametrize("name", [name for name in names("batch") if name != "ott-sinkhorn"])
def test_couplings_pair_on_the_device_of_the_images(name):
    g = torch.Generator().manual_seed(0)
    images, noise = torch.randn(2, 48, 3, 4, 4, generator=g)
    labels = torch.arange(48) % 3
    expected = ready(name).pair(images / 2, noise, labels, torch.Generator().manual_seed(1))
    with elsewhere():
        given = [tensor.to(DEVICE) for tensor in (images / 2, noise, labels)]
        found = ready(name).pair(*given, torch.Generator().manual_seed(1))
        assert found.index.device.type == found.noise.device.type == DEVICE
        assert torch.equal(found.noise.cpu(), expected.noise)


@pytest.mark.parametrize("sampler", ["heun", "euler", "midpoint", "dpmpp-2m", "euler-maruyama"])
def test_samplers_sample_where_the_denoiser_is(sampler, net, digits):
    setting = Setting(sampler, nfe=6 if sampler == "midpoint" else 5, rho=7.0)
    latents = draw_latents(3, digits, seed=0)
    options = (setting, EvaluationConfig())
    expected = sample(net, latents, *options, "cpu")
    with elsewhere():
        found = sample(deepcopy(net).to(DEVICE), latents, *options, DEVICE)
        assert found.nfe == expected.nfe
    assert torch.equal(found.images, expected.images)


@pytest.mark.parametrize("objective", ["edm", "flow", "flow:path_sigma=0.1"])
@pytest.mark.parametrize("conditional", [False, True])
def test_a_step_trains_on_the_device_and_never_waits_for_it(digits, objective, conditional):
    options = {**TINY, "objective": objective, "conditional": conditional, "dropout": 0.1}
    if conditional:
        options["label_dropout"] = 0.5
    config = make(None, options)

    def trained(device):
        state = new_state(config, digits, device)
        step = Stepper(config, state, Ranks(0, 1, device))
        drawn = draw_pool(digits.train.to(device), 64, seed=0, rank=0, number=0)
        coupled = couple_pool(get("lapjv"))(drawn, torch.Generator().manual_seed(0))
        return state, step, coupled.pairs

    state, step, pairs = trained("cpu")
    losses = [step(pairs).item() for _ in range(2)]
    with elsewhere() as waits:
        away, step, pairs = trained(DEVICE)
        waits.clear()
        found = [step(pairs) for _ in range(2)]
        assert waits == []
        assert {weight.device.type for weight in away.ema.net.parameters()} == {DEVICE}
        # Other kernels than those of a plain module may round otherwise.
        assert [loss.item() for loss in found] == pytest.approx(losses, rel=1e-6)
        for ours, theirs in zip(away.net.parameters(), state.net.parameters(), strict=True):
            torch.testing.assert_close(ours.detach().cpu(), theirs.detach())


class Projected(torch.nn.Module):
    """Features by a matrix, which is where the module is."""

    def __init__(self):
        super().__init__()
        weights = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
        self.register_buffer("weights", weights)

    def extract(self, images):
        """Features ``[n, 5]``."""
        return images.flatten(1) @ self.weights


def test_targets_of_independent_noise_are_those_of_the_cpu(digits):
    config = make(None, TINY)
    effort = Effort(queries=8, candidates=64)
    expected = independent_target(config, digits.train, effort)
    with elsewhere():
        found = independent_target(config, digits.train.to(DEVICE), effort)
    assert found == pytest.approx(expected, rel=1e-6)


def test_metrics_measure_on_the_device(digits):
    images = digits.test.images[:20]
    expected = torch.cat([*extract(images, Projected(), "cpu")])
    # Real images come from the CPU, chunk by chunk.
    real = {"train": SimpleNamespace(parts=lambda: expected[:7].split(4))}
    distances = distance_to_training(SimpleNamespace(device="cpu", real=real), expected)
    assert distances[:7].tolist() == [0] * 7
    with elsewhere():
        found = torch.cat([*extract(images, Projected().to(DEVICE), DEVICE)])
        assert torch.equal(found, expected)
        space = SimpleNamespace(device=DEVICE, real=real)
        assert torch.equal(distance_to_training(space, found), distances)
