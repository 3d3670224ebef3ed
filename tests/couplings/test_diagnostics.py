import itertools
import math

import pytest
import torch

from couplings import CouplingError, get
from couplings import diagnostics as d


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def brute(images, noise, reduce):
    costs = []
    for order in itertools.permutations(range(len(images))):
        difference = images - noise[list(order)]
        costs.append(float(difference.square().sum()) / len(images))
    return reduce(costs)


def test_costs_against_all_permutations():
    images = normal(5, 2, 3)
    noise = normal(5, 2, 3, seed=1)
    assert d.optimal_cost(images, noise) == pytest.approx(brute(images, noise, min))
    assert d.independent_cost(images, noise) == pytest.approx(
        brute(images, noise, lambda c: sum(c) / len(c))
    )
    assert d.transport_cost(images, noise) == pytest.approx(
        float((images - noise).square().sum() / 5)
    )


def test_gap():
    images = normal(60, 3)
    noise = normal(60, 3, seed=1)
    best = noise[get("hungarian").pair(images, noise).index]
    assert d.optimality_gap(images, best) == pytest.approx(0, abs=1e-9)
    gaps = [
        d.optimality_gap(
            images, noise[torch.randperm(60, generator=torch.Generator().manual_seed(s))]
        )
        for s in range(200)
    ]
    assert sum(gaps) / 200 == pytest.approx(1, abs=0.03)
    assert math.isnan(d.optimality_gap(images[:1], noise[:1]))


def test_dual_bound_is_weak_and_tight_for_the_optimal_potential():
    import ot

    images = normal(40, 3)
    noise = normal(40, 3, seed=1)
    cost = torch.cdist(images, noise).square().numpy()
    exact = d.optimal_cost(images, noise)
    for seed in range(5):
        assert d.dual_bound(images, noise, 2 * normal(40, seed=seed)) <= exact
    _, log = ot.emd([], [], cost, log=True)
    potential = torch.from_numpy(log["u"])
    assert d.dual_bound(images, noise, potential) == pytest.approx(exact, rel=1e-9)
    assert d.optimality_gap(images, noise, potential) == pytest.approx(
        d.optimality_gap(images, noise)
    )
    assert d.optimality_gap(images, noise, 0 * potential) > 0
    with pytest.raises(CouplingError, match="potential"):
        d.dual_bound(images, noise, potential[:3])


def test_entropy_and_duplicates():
    assert d.renormalised_entropy(
        torch.full((4, 4), -2 * math.log(4), dtype=torch.float64)
    ) == pytest.approx(1)
    assert d.duplicates(torch.tensor([2, 0, 1])) == 0
    assert d.duplicates(torch.tensor([2, 2, 2, 1])) == 0.5
    assert d.duplicates(torch.tensor([])) == 0


def test_noise_that_is_normal_passes_and_shrunk_noise_does_not():
    noise = normal(2000, 3, 4)
    assert d.noise_norm_drift(noise) == pytest.approx(0, abs=4 * math.sqrt(2 / noise.numel()))
    assert d.norm_ks(noise).pvalue > 0.01
    assert d.marginal_ks(noise).pvalue > 0.01
    shrunk = 0.9 * noise
    assert d.noise_norm_drift(shrunk) == pytest.approx(0.81 * (1 + d.noise_norm_drift(noise)) - 1)
    assert d.norm_ks(shrunk).pvalue < 1e-6
    shifted = noise.clone()
    shifted[:, 1, 2] += 0.3
    assert d.marginal_ks(shifted).pvalue < 1e-6
    # Right coordinates, wrong norms: all of one length.
    sphere = noise / noise.flatten(1).norm(dim=1).reshape(-1, 1, 1) * math.sqrt(12)
    assert d.norm_ks(sphere).pvalue < 1e-6


def test_norm_statistic_in_one_dimension_is_exact():
    """One point at the median of |N(0, 1)|: the distance to chi(1) is one half."""
    assert d.norm_ks(torch.tensor([[0.6744897501960817]])).statistic == pytest.approx(0.5)


def test_leakage():
    labels = torch.arange(600) % 3
    noise = normal(600, 8)
    assert d.label_leakage(noise, labels) == pytest.approx(1 / 3, abs=0.08)
    told = noise.clone()
    told[:, :3] += 6 * torch.eye(3, dtype=torch.float64)[labels]
    assert d.label_leakage(told, labels) > 0.95
    # Two classes at -m and m along one axis: the best linear rule is right with probability Phi(m).
    two = torch.arange(4000) % 2
    m = 0.5
    noise = normal(4000, 4)
    noise[:, 0] += m * (2 * two - 1)
    expected = 0.5 * (1 + math.erf(m / math.sqrt(2)))
    assert d.label_leakage(noise, two) == pytest.approx(expected, abs=0.03)
    with pytest.raises(CouplingError, match="folds=1"):
        d.label_leakage(noise, torch.arange(4000))


def test_the_share_that_a_label_explains_is_that_of_an_analysis_of_variance():
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    noise = normal(9, 3) + labels[:, None]
    whole = noise - noise.mean(0)
    within = sum(
        float((noise[labels == c] - noise[labels == c].mean(0)).square().sum()) for c in range(3)
    )
    expected = 1 - (within / 6) / (float(whole.square().sum()) / 8)
    assert d.label_share(noise + 1e3, labels) == pytest.approx(expected, rel=1e-6)
    assert d.label_share(labels[:, None].double(), labels) == pytest.approx(1)
    assert math.isnan(d.label_share(noise, torch.arange(9)))
    assert math.isnan(d.label_share(noise, torch.zeros(9)))


def test_the_share_of_random_labels_is_zero_on_average():
    noise = normal(6, 2)
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    values = [
        d.label_share(noise, labels[list(order)]) for order in itertools.permutations(range(6))
    ]
    assert sum(values) / len(values) == pytest.approx(0, abs=1e-12)


def test_power_drift():
    images = normal(400, 6) * 0.5 + 0.3
    noise = normal(400, 6, seed=1)
    paired = noise[get("hungarian").pair(images, noise).index]
    drift = d.power_drift(images, paired, [0.1, 1.0])
    for sigma, value in drift.items():
        power = float((images + sigma * paired).square().sum(1).mean())
        every = float((images[:, None] + sigma * noise).square().sum(2).mean())
        assert value == pytest.approx(power / every - 1)
        assert value > 0
    half = d.power_drift(images, 2 * images, [1.0])[1.0]  # fully aligned, whatever the law
    centred = images - images.mean(0)
    assert half == pytest.approx(
        4
        * float(centred.square().sum())
        / (5 * images.square().sum() + 4 * 400 * images.mean(0).square().sum())
    )


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_conditional_variance_of_gaussians(sigma):
    """y ~ N(0, s^2 I), independent noise: Var(y_k | x) = s^2 sigma^2 / (s^2 + sigma^2)."""
    s = 0.8
    images = s * normal(6000, 2)
    noise = normal(6000, 2, seed=1)
    exact = s**2 * sigma**2 / (s**2 + sigma**2)
    assert d.conditional_variance(images, noise, sigma) == pytest.approx(exact, rel=0.05)
    assert d.posterior_variance(images, noise, sigma) == pytest.approx(exact, rel=0.05)
    # The optimal map y = s z leaves nothing to guess.
    assert d.conditional_variance(s * noise, noise, sigma) < 0.05 * exact


def test_posterior_variance_of_two_points():
    """y = -1 or 1: Var(y | x) = 1 - tanh(x / sigma^2)^2, integrated over x."""
    signs = 1.0 - 2 * (torch.arange(4000) % 2)[:, None].double()
    noise = normal(4000, 1)
    expected = (1 - torch.tanh((signs + 0.7 * noise) / 0.49).square()).mean()
    assert d.posterior_variance(signs, noise, 0.7) == pytest.approx(float(expected))


@pytest.mark.parametrize("offset", [1e5, 1e6])
def test_an_offset_of_all_data_takes_no_digits(offset):
    images = normal(300, 4)
    noise = normal(300, 4, seed=1)
    moved = images + offset
    assert d.independent_cost(moved, noise + offset) == pytest.approx(
        d.independent_cost(images, noise), rel=1e-9
    )
    assert d.posterior_variance(moved, noise, 0.5) == pytest.approx(
        d.posterior_variance(images, noise, 0.5), rel=1e-7
    )
    paired = noise[get("hungarian").pair(images, noise).index]
    power = float((moved + 0.5 * paired).square().sum(1).mean())
    gain = float(((images - images.mean(0)) * paired).sum(1).mean())
    assert d.power_drift(moved, paired, [0.5])[0.5] == pytest.approx(
        gain / (power - gain), rel=1e-7
    )


def test_misfits_are_refused():
    with pytest.raises(CouplingError, match="one shape"):
        d.transport_cost(torch.zeros(3, 2), torch.zeros(2, 2))
    with pytest.raises(CouplingError, match="nothing"):
        d.transport_cost(torch.zeros(0, 2), torch.zeros(0, 2))
    with pytest.raises(CouplingError, match="neighbours"):
        d.conditional_variance(torch.zeros(3, 2), torch.zeros(3, 2), 1.0, neighbours=4)
