import dataclasses
import math

import pytest
import torch
from torch import nn

from bench import data
from bench.data import Dataset, Split
from bench.metrics._learning import SIGMAS, Effort
from bench.metrics.learning_signal import learning_signal, own_coupling
from bench.training.state import build_network
from models.denoiser import Denoiser
from models.objectives.edm import EDM

D, S = 4, 0.5
POOLS = 500


class Linear(Denoiser):
    """D(x) = theta x: losses and gradients of Gaussian data are closed forms."""

    def __init__(self, theta=0.3):
        super().__init__(nn.Identity(), EDM())
        self.theta = nn.Parameter(torch.tensor(theta))

    def forward(self, x, sigma, labels=None, augment_labels=None):
        return self.theta * x


class Posterior(Linear):
    """E[y|x] under independent noise, for y uniform on some images."""

    def __init__(self, images):
        super().__init__()
        self.images = images.double()

    def forward(self, x, sigma, labels=None, augment_labels=None):
        distance = torch.cdist(x.flatten(1).double(), self.images.flatten(1)).square()
        weights = (-distance / (2 * sigma.double()[:, None] ** 2)).softmax(1)
        return (weights @ self.images.flatten(1)).reshape(x.shape).float() + 0 * self.theta


def gaussian(n, d=D, seed=0) -> Dataset:
    g = torch.Generator().manual_seed(seed)
    train, test = (
        Split(S * torch.randn(n, d, 1, 1, generator=g), torch.zeros(n).long()) for _ in range(2)
    )
    return Dataset("gaussian", train, test, num_classes=1, bounded=False)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits")


FEW = Effort(pairs=128, pools=3, batch=16, level_batch=4, queries=64, share=32)  # a tenth


def arm(config, coupling, **training):
    return dataclasses.replace(
        config, coupling=coupling, training=dataclasses.replace(config.training, **training)
    )


def network(config, dataset):
    return build_network(
        config.network, dataset, config.training.conditional, 0, config.training.augment > 0
    )


def measure(config, net, dataset, effort=FEW):
    coupling = own_coupling(config, dataset, None, "cpu", net)
    found = learning_signal(config, net, dataset, "cpu", coupling, effort)
    return {(m.metric, m.sigma): m.value for m in found}


def of(values, metric) -> list[float]:
    return [values[metric, sigma] for sigma in SIGMAS]


ARMS = [
    ("random", {}),
    ("lapjv", {}),
    ("knn", {}),
    ("model-aligned", {}),
    ("cached", {}),
    ("semidiscrete", {}),
    ("random", {"augment": 0.1}),
    ("lapjv:within_class=true", {"conditional": True, "augment": 0.1}),
]


@pytest.mark.parametrize(("coupling", "training"), ARMS)
def test_rows_of_each_coupling(coupling, training, tiny, digits, tmp_path):
    config = arm(tiny, coupling, **training)
    small = dataclasses.replace(
        digits, train=Split(digits.train.images[:90], digits.train.labels[:90])
    )
    net = network(config, small)
    own = own_coupling(config, small, tmp_path, "cpu", net)
    found = learning_signal(config, net, small, "cpu", own, FEW)
    assert len({m.key for m in found}) == len(found)
    assert all(math.isfinite(m.value) for m in found if m.metric != "gradient_noise_scale")
    metrics = {m.metric for m in found}
    assert ("validation_loss_own" in metrics) == (coupling not in ("cached", "semidiscrete"))
    assert ("target_variance" in metrics) == (coupling == "random" and not training)
    permutes = coupling in ("random", "lapjv", "model-aligned")
    assert ("target_variance_from_noise" in metrics) == permutes


def test_a_network_from_a_file_has_no_pairing_of_its_own(tiny, digits):
    config = dataclasses.replace(tiny, coupling="edm-cifar10", checkpoint="0" * 64)
    found = measure(config, network(tiny, digits), digits)
    assert {metric for metric, _ in found} == {
        "validation_loss_independent",
        "validation_loss_edm_independent",
    }


def test_pairings_differ_in_nothing_else(tiny, digits):
    net = network(tiny, digits)
    random, lapjv = (measure(arm(tiny, coupling), net, digits) for coupling in ("random", "lapjv"))
    for name in ("", "edm_"):
        own, independent = f"validation_loss_{name}own", f"validation_loss_{name}independent"
        shared = {key for key in random if key[0] == independent}
        assert all(
            random[own, sigma] == random[key] == lapjv[key] for key in shared for sigma in [key[1]]
        )
        assert all(lapjv[own, sigma] != lapjv[independent, sigma] for _, sigma in shared)


def test_found_by_the_seed_alone_and_the_network_stays_as_it_was(tiny, digits):
    net = network(tiny, digits).requires_grad_(False)
    before, state = [w.clone() for w in net.parameters()], torch.random.get_rng_state()
    first, again = (measure(arm(tiny, "lapjv"), net, digits) for _ in range(2))
    assert first == again
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(map(torch.equal, net.parameters(), before))
    assert not any(w.requires_grad or w.grad is not None for w in net.parameters())
    other = measure(dataclasses.replace(arm(tiny, "lapjv"), seed=1), net, digits)
    assert all(other[key] != first[key] for key in first)


def test_losses_and_gradients_of_a_linear_denoiser(tiny):
    """x and e = theta x - y are jointly Gaussian; the gradient of a pair is 2 lambda sum_d x e.

    G = 2 lambda d Cov(x, e), Var = 4 lambda^2 d (Var(x) Var(e) + Cov(x, e)^2).
    """
    effort = Effort(pools=POOLS, pairs=4000, batch=8)
    level, theta = SIGMAS[3], 0.3
    config = arm(tiny, "random", pool=32, batch=32, P_mean=math.log(level), P_std=1e-9)
    found = measure(config, Linear(theta), gaussian(8000), effort)

    def moments(sigma):
        x = S**2 + sigma**2
        # Var(x), Cov(x, e), Var(e)
        return x, theta * x - S**2, theta**2 * x - 2 * theta * S**2 + S**2

    for metric in ("target_variance_bound", "validation_loss_own", "validation_loss_independent"):
        expected = [moments(sigma)[2] for sigma in SIGMAS]
        assert of(found, metric) == pytest.approx(expected, rel=0.08)
    weights = [EDM().weight(torch.tensor(sigma)).item() for sigma in SIGMAS]
    variances = [
        4 * w**2 * D * (x * e + c**2)
        for w, (x, c, e) in zip(weights, map(moments, SIGMAS), strict=True)
    ]
    error = 4 * math.sqrt(2 / POOLS)
    assert of(found, "gradient_variance") == pytest.approx(variances, rel=error)
    assert found["gradient_variance", None] == pytest.approx(variances[3], rel=error)
    signal = (2 * weights[3] * D * moments(level)[1]) ** 2
    assert found["gradient_signal", None] == pytest.approx(signal, rel=0.2)
    assert found["gradient_noise_scale", None] == pytest.approx(variances[3] / signal, rel=0.3)
    edm = weights[3] * moments(level)[2]
    assert found["validation_loss_edm_own", None] == pytest.approx(edm, rel=0.08)


def test_parts_of_a_batch_change_no_gradient(tiny, digits):
    whole = measure(arm(tiny, "lapjv"), network(tiny, digits), digits)
    effort = dataclasses.replace(FEW, part=3)
    parts = measure(arm(tiny, "lapjv"), network(tiny, digits), digits, effort)
    keys = [key for key in whole if key[0].startswith(("gradient", "target"))]
    assert [parts[key] for key in keys] == pytest.approx(
        [whole[key] for key in keys], rel=1e-2, nan_ok=True
    )


def test_the_exact_denoiser_reaches_the_variance_of_the_target(tiny):
    """The loss of E[y|x] is E Var(y | x): two estimates of one number, by pairs and by the closed
    form.
    """
    effort = Effort(pools=100, level_batch=32, queries=4000)
    dataset = gaussian(300)
    found = measure(arm(tiny, "random"), Posterior(dataset.train.images), dataset, effort)
    bound, target = of(found, "target_variance_bound"), of(found, "target_variance")
    assert bound[2:] == pytest.approx(target[2:], rel=0.1)
    assert target[-1] == pytest.approx(
        dataset.train.images.var(0, correction=0).mean().item(), rel=0.05
    )


def test_a_large_set_is_measured_by_a_part_of_it(tiny):
    """Fewer candidates to mistake an image for: never above the whole."""
    dataset = gaussian(2000)
    effort = dataclasses.replace(FEW, queries=1000)
    whole = of(measure(arm(tiny, "random"), Linear(), dataset, effort), "target_variance")
    fewer = dataclasses.replace(effort, candidates=40)
    part = of(measure(arm(tiny, "random"), Linear(), dataset, fewer), "target_variance")
    assert part[2] < 0.8 * whole[2]


def test_optimal_pairs_on_the_line_leave_nothing_to_guess(tiny):
    """In one dimension optimal transport is monotone: y = s z as the pool grows. Random pairs leave
    all of Var(y).
    """
    effort = dataclasses.replace(FEW, pools=40, queries=512)
    dataset = gaussian(4000, d=1)
    random, lapjv = (
        measure(arm(tiny, coupling, pool=256), Linear(), dataset, effort)[
            "target_variance_from_noise", None
        ]
        for coupling in ("random", "lapjv")
    )
    assert random == pytest.approx(S**2, rel=0.2)
    assert lapjv < 0.05 * S**2


def test_losses_are_weighed_with_the_networks_own_sigma_data(tiny, digits):
    """At (s^2 + d^2) / (s d)^2 = 1/s^2 + 1/d^2 a larger d weighs less, by the mean error at all
    sigmas.
    """
    config, net = dataclasses.replace(tiny, coupling="edm-cifar10", checkpoint="0" * 64), Linear()
    losses = {}
    for sigma_data in (0.25, 0.5, 1.0):
        net.objective = EDM(sigma_data=sigma_data)
        found = measure(config, net, digits)
        losses[sigma_data] = found["validation_loss_edm_independent", None]
    assert losses[0.25] > losses[0.5] > losses[1.0]
    assert losses[0.25] - losses[0.5] == pytest.approx(
        (16 - 4) / (4 - 1) * (losses[0.5] - losses[1.0]), rel=1e-3
    )
