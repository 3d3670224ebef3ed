"""The noise of the gain of a schedule, from blocks of the latents that it shares with another."""

import math

import numpy as np
import pytest
import torch

from bench.data import Dataset, Split
from bench.features import Features
from bench.metrics._moments import Moments
from bench.metrics.contract import FeatureSpace
from bench.metrics.frechet import frechet_distance
from bench.metrics.grid import BLOCKS, Grid, jackknife_error

SIZE = 3
N = 160
FLAT = Features("flat", lambda images: images.flatten(1), size=SIZE, fingerprint="f")


@pytest.fixture(scope="module")
def space():
    g = torch.Generator().manual_seed(0)
    split = Split(torch.randn(4000, 1, 1, SIZE, generator=g), torch.zeros(4000).long())
    return FeatureSpace(FLAT, Dataset("normal", split, split, 1, bounded=False))


def grid(space, features, chunk=N):
    metric = Grid(space, len(features))
    for part in features.split(chunk):
        metric.update(part)
    return metric


def noise(metric, fixed):
    (value,) = metric.against(fixed).values()
    return value


def draws(seed, scale):
    """Samples at a fixed schedule and at another one, of the same latents: 10 % further away."""
    g = torch.Generator().manual_seed(seed)
    latents = torch.randn(N, SIZE, generator=g)
    own = torch.randn(N, SIZE, generator=g)
    return 1.5 * latents + 0.5, 1.55 * latents + 0.52 + scale * own


def log_ratio(space, fixed, other):
    real = space.real["train"].moments
    distances = [frechet_distance(Moments.of(x), real) for x in (other, fixed)]
    return math.log(distances[0] / distances[1])


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=12)
    left_out = [np.delete(values, k).mean() for k in range(12)]
    assert jackknife_error(left_out) == pytest.approx(values.std(ddof=1) / math.sqrt(12))


@pytest.mark.parametrize("scale", [0.0, 0.3])
def test_the_noise_is_the_spread_over_independent_latents(space, scale):
    ratios = [log_ratio(space, *draws(seed, scale)) for seed in range(200)]
    errors = []
    for seed in range(40):
        fixed, other = draws(seed, scale)
        errors.append(noise(grid(space, other), grid(space, fixed)))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(ratios), rel=0.25)
    # Shared latents cancel: of others the ratio is far noisier.
    apart = [log_ratio(space, draws(s, scale)[0], draws(s + 500, scale)[1]) for s in range(100)]
    assert np.std(ratios) < 0.7 * np.std(apart)


def test_chunks_change_nothing(space):
    fixed, other = draws(0, 0.3)
    whole = noise(grid(space, other), grid(space, fixed))
    assert noise(grid(space, other, 7), grid(space, fixed, 50)) == pytest.approx(whole, rel=1e-9)


def test_the_fixed_schedule_has_no_noise_and_what_is_not_finite_has_no_value(space):
    fixed, other = draws(0, 0.3)
    own = grid(space, fixed)
    assert noise(own, own) == 0.0
    other[N // 2] = math.nan
    assert math.isnan(noise(grid(space, other), own))
    assert math.isnan(noise(own, grid(space, other)))


@pytest.mark.parametrize("n", [2, BLOCKS - 1, BLOCKS, 2 * BLOCKS + 3])
def test_few_samples_end_nothing(space, n):
    fixed, other = draws(0, 0.3)
    value = noise(grid(space, other[:n]), grid(space, fixed[:n]))
    # Of one sample, which is left of two, there is no covariance.
    assert math.isnan(value) == (n == 2)
