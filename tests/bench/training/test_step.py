import copy
import itertools
from dataclasses import dataclass, field, replace

import pytest
import torch

from bench import data
from bench.config import Execution
from bench.pairs.stream import PairStream
from bench.process.ranks import Ranks
from bench.randomness import generator
from bench.training.compiled import Compiled
from bench.training.state import TrainingError, new_state
from bench.training.step import Stepper
from couplings import get
from models.objectives.edm import EDM
from models.objectives.flow import Flow

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
def test_the_error_by_level_is_that_of_the_denoiser_before_the_step(
    digits, tiny, batches, micro_batch
):
    """All levels together against the mean over the batch, computed here."""
    (batch,) = batches(1)
    state = new_state(tiny, digits, "cpu")
    state.net.objective = Recorded()
    before = copy.deepcopy(state.net)
    Stepper(tiny, state, ALONE, Execution(micro_batch=micro_batch))(batch)
    sigma = torch.cat([args[3] for args in state.net.objective.calls])
    with torch.no_grad():
        denoised = before(batch.images + sigma[:, None, None, None] * batch.noise, sigma)
    errors = (denoised - batch.images).square().mean((1, 2, 3))
    totals, counts = state.level_sums
    assert counts.tolist() == [
        int(((low <= sigma) & (sigma < high)).sum())
        for low, high in itertools.pairwise((0.0, 0.1, 0.3, 1.0, 3.0, torch.inf))
    ]
    assert totals.sum().item() == pytest.approx(errors.sum().item(), rel=1e-4)


def test_the_error_by_level_is_that_of_the_target(digits, tiny, batches):
    """A path that ends at y + end_sigma n has this end as its target, not y."""
    (batch,) = batches(1)
    state = new_state(tiny, digits, "cpu")
    state.net.objective = Flow(end_sigma=0.5)
    before = copy.deepcopy(state.net)
    Stepper(tiny, state, ALONE)(batch)
    sigma = Flow().draw_sigma(64, generator(tiny.seed, "sigma", 0, 0))
    target = batch.images + 0.5 * batch.noise
    with torch.no_grad():
        denoised = before(target + sigma[:, None, None, None] * batch.noise, sigma)
    errors = (denoised - target).square().mean((1, 2, 3))
    assert state.level_sums[0].sum().item() == pytest.approx(errors.sum().item(), rel=1e-4)


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


def test_dropped_labels_are_zeros_and_leave_all_other_draws_alone(digits, tiny, batches):
    (pairs,) = batches(1)
    seen = {}
    for dropout in (0.0, 0.3):
        config = with_training(tiny, conditional=True, label_dropout=dropout)
        step, _, calls = recorded(config, digits)
        step(pairs)
        (seen[dropout],) = calls
    whole, thinned = seen[0.0][4], seen[0.3][4]
    dropped = thinned.sum(1) == 0
    assert 5 < dropped.sum() < 35  # 19 of 64 on average
    assert torch.equal(thinned[~dropped], whole[~dropped])
    for place in (1, 2, 3):  # images, noise, sigma
        assert torch.equal(seen[0.0][place], seen[0.3][place])


def test_dropped_labels_depend_on_the_step_but_not_on_ranks_or_micro_batches(digits, tiny, batches):
    config = with_training(tiny, conditional=True, label_dropout=0.5)
    (pairs,) = batches(1)
    step, _, calls = recorded(config, digits)
    step(pairs)
    step(pairs)
    first, second = (args[4] for args in calls)
    assert not torch.equal(first, second)
    state = new_state(config, digits, "cpu")
    shares = []
    for rank in range(2):
        stepper = Stepper(config, state, ALONE, Execution(micro_batch=16))
        stepper.ranks = Ranks(rank, 2, "cpu")
        stepper.share = 32
        shares.append(stepper._labels(pairs.labels[32 * rank :][:32]))
    assert torch.equal(torch.cat(shares), first)


def test_training_without_any_label_is_unconditional_training(digits, tiny, batches):
    """The same weights as a network without labels gets from the same start, to the bit."""
    several = batches(3)
    config = with_training(tiny, conditional=True, label_dropout=1.0)
    told = new_state(config, digits, "cpu")
    untold = new_state(tiny, digits, "cpu")
    started = told.net.state_dict()
    untold.net.load_state_dict({name: started[name] for name in untold.net.state_dict()})
    of_labels = {name for name in started if ".map_label." in name}
    assert started.keys() - untold.net.state_dict().keys() == of_labels
    for pairs in several:
        # Of zeros its layer makes a constant, which the other network lacks.
        with torch.no_grad():
            told.net.model.map_label.bias.zero_()
        Stepper(config, told, ALONE)(pairs)
        Stepper(tiny, untold, ALONE)(pairs)
    trained = told.net.state_dict()
    for name, value in untold.net.state_dict().items():
        assert torch.equal(value, trained[name]), name


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # of torch itself
def test_a_backward_pass_that_cannot_be_compiled_is_one_line(digits, tiny, batches):
    from torch._dynamo.backends.common import aot_autograd
    from torch._inductor.exc import InductorError

    def fail(*_):
        raise InductorError(ValueError("no kernel\nfor this"), None)

    backend = aot_autograd(fw_compiler=lambda graph, _: graph.forward, bw_compiler=fail)
    (batch,) = batches(1)
    state = new_state(tiny, digits, "cpu")
    step = Stepper(tiny, state, ALONE, Execution(compile=True))
    step.denoise = Compiled(state.net, tiny.network.arch, backend=backend)
    with pytest.raises(TrainingError, match="--compile.*leave --compile out") as raised:
        step(batch)
    assert "\n" not in str(raised.value)
    assert state.step == 0
    torch._dynamo.reset()
