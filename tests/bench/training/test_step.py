from dataclasses import dataclass, field, replace

import pytest
import torch

from bench import data
from bench.config import Execution
from bench.pairs.stream import PairStream
from bench.process.ranks import Ranks
from bench.randomness import generator
from bench.training.state import new_state
from bench.training.step import Stepper
from couplings import get
from models.objectives.edm import EDM

ALONE = Ranks(0, 1, "cpu")


@dataclass(frozen=True, kw_only=True)
class Recorded(EDM):
    """EDM's objective; keeps the arguments of every loss, and may spoil one loss."""

    calls: list = field(default_factory=list)
    spoilt: int | None = None

    def loss(self, *args):
        value = super().loss(*args)
        self.calls.append(args)
        return value * float("nan") if len(self.calls) - 1 == self.spoilt else value


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture
def batches(digits):
    """The first mini-batches of a coupling."""

    def draw(n, coupling="random"):
        stream = PairStream(digits.train, get(coupling), pool=128, batch=64, seed=0)
        with stream:
            return [pairs for _, pairs in zip(range(n), stream, strict=False)]

    return draw


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def with_training(config, **changes):
    return replace(config, training=replace(config.training, **changes))


def recorded(config, dataset, **options):
    """A stepper, its state, and the arguments of its losses."""
    state = new_state(config, dataset, "cpu")
    state.net.objective = Recorded(**options)
    return Stepper(config, state, ALONE), state, state.net.objective.calls


def test_runs_see_the_same_sigmas(digits, tiny, batches):
    seen = {}
    for coupling in ("random", "lapjv"):
        step, _, calls = recorded(replace(tiny, coupling=coupling), digits)
        for pairs in batches(3, coupling):
            step(pairs)
        seen[coupling] = [args[3] for args in calls]
    for a, b in zip(*seen.values(), strict=True):
        assert torch.equal(a, b)
        assert len(a.unique()) == len(a)  # one for every sample


def test_the_learning_rate_rises_and_stays(digits, tiny, batches):
    config = with_training(tiny, lr=1.0e-3, lr_ramp=256)
    state = new_state(config, digits, "cpu")
    step = Stepper(config, state, ALONE)
    rates = []
    for pairs in batches(6):
        step(pairs)
        rates.append(state.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3])


def test_a_conditional_network_gets_one_hot_labels(digits, tiny, batches):
    step, _, calls = recorded(with_training(tiny, conditional=True), digits)
    (pairs,) = batches(1)
    step(pairs)
    labels = calls[0][4]
    assert labels.shape == (64, 10)
    assert torch.equal(labels.argmax(1), pairs.labels)


def test_micro_batches_add_up_to_the_batch(digits, tiny, batches):
    (batch,) = batches(1)
    gradients = []
    for micro_batch in (None, 16, 24):
        state = new_state(tiny, digits, "cpu")
        Stepper(tiny, state, ALONE, Execution(micro_batch=micro_batch))(batch)
        gradients.append(torch.cat([p.grad.flatten() for p in state.net.parameters()]))
    for other in gradients[1:]:
        assert (other - gradients[0]).norm() < 1e-5 * gradients[0].norm()


@pytest.mark.parametrize("micro_batch", [None, 24])
def test_weights_of_pairs_are_those_of_their_losses(digits, tiny, batches, micro_batch):
    """With weights 2 and 0 the loss is that of the pairs of weight 2 alone."""
    (batch,) = batches(1, "w-cfm")
    assert batch.weights.std() > 0
    batch = replace(batch, weights=2.0 * (torch.arange(64) < 32))
    state = new_state(tiny, digits, "cpu")
    step = Stepper(tiny, state, ALONE, Execution(micro_batch=micro_batch))
    half = batch[:32]
    sigma = EDM().draw_sigma(64, generator(tiny.seed, "sigma", 0, 0))[:32]
    with torch.no_grad():
        expected = state.net.objective.loss(state.net, half.images, half.noise, sigma)
    assert step(batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_stray_overflow_leaves_the_weights_finite(digits, tiny, batches):
    step, state, _ = recorded(tiny, digits, spoilt=1)
    losses = [step(pairs) for pairs in batches(3)]
    assert [loss.isfinite().item() for loss in losses] == [True, False, True]
    assert weights(state.net).isfinite().all()
    assert weights(state.ema.net).isfinite().all()
