import math

import pytest
import torch

from couplings import CouplingError, get
from couplings.smooth import score_gap, smooth_map

N = 24


@pytest.fixture(scope="module")
def fitted():
    images = torch.randn(N, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sd = get("semidiscrete:batch=512").fit(images, generator=torch.Generator().manual_seed(1))
    return sd, images


@pytest.fixture
def noise(seeded):
    return torch.randn(300, 5, generator=seeded(2), dtype=torch.float64)


def potential(sd, noise, tau: float):
    """u_tau from its definition, for the centred images of the fit."""
    (scores,) = sd.scores(noise)
    return tau * (scores.values / tau).logsumexp(1) - tau * math.log(N)


def test_limits(fitted, noise):
    sd, images = fitted
    gap = score_gap(sd, noise)
    hard = images[sd.assign(noise)]
    cold = smooth_map(sd, images, noise, 1e-3 * gap)
    assert ((cold - hard).abs().amax(1) < 1e-6).double().mean() > 0.97
    hot = smooth_map(sd, images, noise, 1e7 * gap)
    torch.testing.assert_close(hot, images.mean(0).expand_as(hot), atol=1e-5, rtol=0)
    near = [
        (smooth_map(sd, images, noise, tau * gap) - hard).square().sum(1).mean()
        for tau in (0.03, 0.1, 0.3, 1)
    ]
    assert near == sorted(near)


def test_it_is_the_gradient_of_the_smoothed_potential(fitted, noise):
    sd, images = fitted
    step = 1e-5 * torch.eye(5, dtype=torch.float64)
    slope = [(potential(sd, noise + e, 0.5) - potential(sd, noise - e, 0.5)) / 2e-5 for e in step]
    centred = smooth_map(sd, images, noise, 0.5) - images.mean(0)
    torch.testing.assert_close(torch.stack(slope, 1), centred, atol=1e-7, rtol=0)


def test_the_potential_is_within_its_bound(fitted, noise):
    sd, _ = fitted
    (scores,) = sd.scores(noise)
    excess = scores.values.amax(1) - potential(sd, noise, 0.5)
    assert excess.min() >= 0
    assert excess.max() <= 0.5 * math.log(N)


def test_gap_is_between_the_two_best(fitted, noise):
    sd, images = fitted
    scores = noise @ (images - images.mean(0)).T + sd.cells[0].dual.average
    best = scores.sort(1, descending=True).values
    assert score_gap(sd, noise) == pytest.approx(float((best[:, 0] - best[:, 1]).median()))


def test_scores_agree_with_assign_in_any_chunks(fitted, noise):
    sd, images = fitted
    whole = smooth_map(sd, images, noise, 0.3)
    for part in sd.scores(noise, at_once=7 * N):
        assert len(part.rows) <= 7
        assert torch.equal(part.index[part.values.argmax(1)], sd.assign(noise[part.rows]))
    torch.testing.assert_close(smooth_map(sd, images, noise, 0.3, at_once=7 * N), whole)


def test_classes_keep_apart(pool, seeded):
    images = pool(N)[0]
    labels = torch.arange(N) % 2
    images[labels == 1] += 10
    sd = get("semidiscrete:batch=512,per_class=true").fit(images, labels, seeded(0))
    wanted = torch.arange(50) % 2
    noise = torch.randn(50, *images.shape[1:], generator=seeded(1))
    hot = smooth_map(sd, images, noise, 1e6, wanted)
    for c in (0, 1):
        mean = images[labels == c].mean(0)
        torch.testing.assert_close(
            hot[wanted == c], mean.expand_as(hot[wanted == c]), atol=1e-3, rtol=0
        )
    with pytest.raises(CouplingError, match="does not hold"):
        smooth_map(sd, images, noise, 1.0, wanted + 5)


def test_equal_images_weigh_as_often_as_they_come(seeded):
    images = torch.tensor([[0.0], [0.0], [0.0], [1.0]])
    sd = get("semidiscrete:batch=512").fit(images, generator=seeded(0))
    hot = smooth_map(sd, images, torch.zeros(1, 1), 1e6)
    assert hot.item() == pytest.approx(0.25, abs=1e-4)


def test_refusals(fitted, noise, seeded):
    sd, images = fitted
    with pytest.raises(CouplingError, match="tau"):
        smooth_map(sd, images, noise, 0.0)
    alone = get("semidiscrete").fit(torch.ones(1, 2), generator=seeded(0))
    with pytest.raises(CouplingError, match="second"):
        score_gap(alone, torch.zeros(1, 2))
