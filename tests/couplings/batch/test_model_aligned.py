"""The coupling of least velocity error, compared with n^2 evaluations of a small network."""

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from couplings import CouplingError, Pool, get
from couplings.loader import PairedLoader
from tests.ready import ready, rolled

N = 20
SHAPE = (1, 2, 3)


class Network(torch.nn.Module):
    """A velocity with random weights that looks at the state, the time and the label."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.hidden = torch.nn.Linear(8, 16)
            self.last = torch.nn.Linear(16, 6)
        self.seen = []

    def forward(self, state, t, labels):
        assert state.shape[1:] == SHAPE
        assert state.dtype == torch.float32
        self.seen.append(t)
        of_label = torch.zeros(len(state)) if labels is None else labels.float()
        rest = torch.stack([torch.full((len(state),), t), of_label], 1)
        hidden = torch.tanh(self.hidden(torch.cat([state.flatten(1), rest], 1)))
        return self.last(hidden).reshape(state.shape)


def errors_of_all_pairs(velocity, images, noise, t_image, t_noise, labels=None):
    """The mean error per value of every pair at the two ends, one evaluation each, `[n, n]`."""
    n = len(images)
    found = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            target = noise[j] - images[i]
            states = {
                t_image: ((1 - t_image) * images[i] + t_image * noise.mean(0), i),
                t_noise: ((1 - t_noise) * images.mean(0) + t_noise * noise[j], j),
            }
            for t, (state, own) in states.items():
                label = None if labels is None else labels[own : own + 1]
                found[i, j] += (velocity(state[None], t, label)[0] - target).square().mean() / 2
    return found


@pytest.mark.parametrize("levels", [(0.02, 1.0), (0.3, 0.8)])
@pytest.mark.parametrize("labelled", [False, True])
def test_the_sum_of_all_errors_is_least(pool, levels, labelled):
    images, noise = pool(N, SHAPE)
    labels = torch.arange(N) % 3 if labelled else None
    spec = "model-aligned:image_level={},noise_level={}".format(*levels)
    network = Network()
    pairing = get(spec).using(network).pair(images, noise, labels)
    # Two evaluations of the network for the whole pool.
    assert network.seen == list(levels)
    with torch.no_grad():
        errors = errors_of_all_pairs(network, images, noise, *levels, labels).numpy()
    rows, columns = linear_sum_assignment(errors)
    least = errors[rows, columns].mean()
    index = pairing.index.numpy()
    assert sorted(index.tolist()) == list(range(N))
    assert errors[rows, index].mean() == pytest.approx(least, rel=1e-5)
    assert pairing.report["model_error_after"] == pytest.approx(least, rel=1e-5)
    before = errors.diagonal().mean()
    assert pairing.report["model_error_before"] == pytest.approx(before, rel=1e-5)
    assert least < before
    assert pairing.report["aligned"] == 1


def test_a_network_that_knows_the_pairs_gets_them_back(pool):
    """Pairs whose velocity the network has learned without error are those of the coupling."""
    images, noise = pool(N, SHAPE)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    partner = noise[order]

    def learned(state, t, labels):
        ends = images if t < 0.5 else partner
        nearest = torch.cdist(state.flatten(1), ends.flatten(1)).argmin(1)
        return (partner - images)[nearest]

    pairing = get("model-aligned:image_level=0.001").using(learned).pair(images, noise)
    assert torch.equal(pairing.index, order)
    assert pairing.report["model_error_after"] == pytest.approx(0, abs=1e-10)


def test_pools_of_the_warm_up_ask_no_network(pool):
    images, noise = pool(N, SHAPE)

    def untrained(state, t, labels):
        raise AssertionError

    random = get("model-aligned").using(untrained, progress=0.05).pair(images, noise)
    assert random.index.tolist() == list(range(N))
    assert random.report["aligned"] == 0
    exact = get("model-aligned:first=exact").using(untrained, progress=0).pair(images, noise)
    assert torch.equal(exact.index, get("lapjv").pair(images, noise).index)
    assert exact.report["cost_after"] < exact.report["cost_before"]


def test_progress_is_that_of_the_pool(pool):
    images, noise = pool(N, SHAPE)
    done = [0.0]
    aligned = get("model-aligned:warmup=0.5").using(rolled, progress=lambda: done[0])
    reports = []
    for share in (0.0, 0.49, 0.5, 1.0):
        done[0] = share
        reports.append(aligned.pair(images, noise).report["aligned"])
    assert reports == [0, 0, 1, 1]


def test_without_a_network_one_line_says_how_to_hand_it_over(pool):
    for inputs in (pool(N, SHAPE), pool(1, SHAPE)):
        with pytest.raises(CouplingError, match=r"\.using\(velocity, progress=") as caught:
            get("model-aligned").pair(*inputs)
        assert "\n" not in str(caught.value)
    with pytest.raises(CouplingError, match="lapjv follows no model"):
        get("lapjv").using(rolled)
    with pytest.raises(CouplingError, match="permuted: model-aligned follows the network"):
        get("permuted:of=model-aligned")


@pytest.mark.parametrize(
    ("velocity", "words"),
    [
        (lambda state, t, labels: state.flatten(1), r"shape of its states, \[20, 1, 2, 3\], got"),
        (lambda state, t, labels: None, "got NoneType"),
        (lambda state, t, labels: state / 0, "t = 0.02 is not finite"),
    ],
)
def test_a_wrong_velocity_is_refused(pool, velocity, words):
    with pytest.raises(CouplingError, match=words):
        get("model-aligned").using(velocity).pair(*pool(N, SHAPE))


@pytest.mark.parametrize(
    "options", ["warmup=1.1", "image_level=0", "image_level=0.9,noise_level=0.8", "noise_level=1.1"]
)
def test_levels_and_shares_out_of_range_are_refused(options):
    with pytest.raises(CouplingError, match="model-aligned: "):
        get(f"model-aligned:{options}")


def test_it_is_the_same_coupling_with_any_network(pool):
    bound = ready("model-aligned:warmup=0.2")
    assert bound == get("model-aligned:warmup=0.2")
    assert bound.spec == "model-aligned:warmup=0.2"
    (images, noise) = next(iter(PairedLoader([pool(N, SHAPE)[0]], bound)))
    assert noise.shape == images.shape


def test_no_gradient_is_kept(pool):
    images, noise = pool(N, SHAPE)
    network = Network()
    coupling = get("model-aligned").using(network)
    of_images, of_noise = coupling.points(Pool(images.flatten(1), noise.flatten(1), shape=SHAPE))
    assert not of_images.requires_grad
    assert not of_noise.requires_grad
