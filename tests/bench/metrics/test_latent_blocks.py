"""Distances without blocks of latents, and the noise of evaluation that reports find from them."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from bench.data import Dataset, Split
from bench.features import Features
from bench.metrics._moments import Moments
from bench.metrics.contract import FeatureSpace
from bench.metrics.frechet import frechet_distance
from bench.metrics.latent_blocks import LatentBlocks
from bench.record.infos import BLOCKS

SIZE = 3
N = 400
FLAT = Features("flat", lambda images: images.flatten(1), size=SIZE, fingerprint="f")


@pytest.fixture(scope="module")
def space():
    g = torch.Generator().manual_seed(0)
    split = Split(torch.randn(4000, 1, 1, SIZE, generator=g), torch.zeros(4000).long())
    return FeatureSpace(FLAT, Dataset("normal", split, split, 1, bounded=False))


def two_networks(seed):
    """Samples of two networks from the same latents, which they turn into images alike in part."""
    g = torch.Generator().manual_seed(seed)
    latents = torch.randn(N, SIZE, generator=g)
    return 1.5 * latents + 0.5, 1.3 * latents + 0.4 + 0.4 * latents.flip(1)


def values(space, features, chunk=N):
    metric = LatentBlocks(space, len(features))
    for part in features.split(chunk):
        metric.update(part)
    return np.array([*metric.compute().values()])


def distance(space, features):
    return frechet_distance(Moments.of(features), space.real["test"].moments)


def test_each_block_is_left_out_once(space):
    samples, _ = two_networks(0)
    expected = [
        distance(space, torch.cat([samples[: k * 100], samples[(k + 1) * 100 :]]))
        for k in range(BLOCKS)
    ]
    assert values(space, samples) == pytest.approx(expected, rel=1e-9)
    assert values(space, samples, chunk=33) == pytest.approx(expected, rel=1e-9)


def test_the_jackknife_over_blocks_is_the_variance_over_other_latents(space):
    """Of the log ratio of two networks that share latents, over 400 sets of latents."""
    ratios = []
    variances = []
    for seed in range(400):
        samples = two_networks(seed)
        one, other = (distance(space, each) for each in samples)
        ratios.append(math.log(one / other))
        logs = np.log(np.divide(*(values(space, each) for each in samples)))
        variances.append((BLOCKS - 1) * logs.var())
    assert np.mean(variances) == pytest.approx(np.var(ratios), rel=0.2)


def test_only_distances_that_judge_are_measured(space):
    assert LatentBlocks.suits(space, 8)
    assert not LatentBlocks.suits(space, 7)
    images = torch.zeros(10, 1, 4, 4)
    split = Split(images, torch.zeros(10).long())
    pictures = Dataset("pictures", split, split, 1, bounded=True)
    pixels = dataclasses.replace(FLAT, name="pixels")
    assert not LatentBlocks.suits(FeatureSpace(pixels, pictures), 100)
    assert LatentBlocks.suits(FeatureSpace(FLAT, pictures), 100)
