import math

import numpy as np
import pytest
import torch

from bench.data import load
from bench.data import moons as module


def points(split):
    """Both moons at their original place and size, [n, 2]."""
    scale = torch.tensor(module.STD) / module.SIGMA_DATA
    return split.images.flatten(1).double() * scale + torch.tensor(module.MEAN)


def test_constants_are_the_moments_of_the_two_half_circles():
    t = (np.arange(100_000) + 0.5) * math.pi / 100_000
    x = np.concatenate([np.cos(t), 1 - np.cos(t)])
    y = np.concatenate([np.sin(t), 0.5 - np.sin(t)])
    assert (x.mean(), y.mean()) == pytest.approx(module.MEAN, abs=1e-8)
    noise = module.NOISE_STD**2
    assert (math.sqrt(x.var() + noise), math.sqrt(y.var() + noise)) == pytest.approx(
        module.STD, rel=1e-8
    )


@pytest.mark.parametrize("part", ["train", "test"])
def test_each_coordinate_has_mean_zero_and_the_std_of_edm(part):
    images = getattr(load("moons"), part).images.flatten(1).double()
    standard_error = 0.5 / math.sqrt(len(images))
    assert images.mean(0).abs().max() < 4 * standard_error
    assert (images.std(0) - 0.5).abs().max() < 4 * standard_error


def test_label_names_the_half_circle_a_point_lies_on():
    split = load("moons").train
    xy = points(split)
    upper, lower = xy[split.labels == 0], xy[split.labels == 1]
    radius = torch.cat([upper.norm(dim=1), (lower - torch.tensor([1.0, 0.5])).norm(dim=1)])
    # Noise shifts the mean of a radius by half its variance; 4 standard errors allowed.
    assert radius.mean() == pytest.approx(
        1 + module.NOISE_STD**2 / 2, abs=4 * module.NOISE_STD / 100
    )
    assert radius.std() == pytest.approx(module.NOISE_STD, rel=0.03)
    assert upper[:, 1].min() > -5 * module.NOISE_STD
    assert lower[:, 1].max() < 0.5 + 5 * module.NOISE_STD
