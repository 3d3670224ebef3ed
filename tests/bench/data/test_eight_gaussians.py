import math

import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import kstest

from bench.data import load
from bench.data.eight_gaussians import MEANS, STD


def test_means_are_the_corners_of_a_regular_octagon():
    radius = MEANS.norm(dim=1)
    torch.testing.assert_close(radius, radius[:1].expand(8))
    sides = sorted(pdist(MEANS.numpy()))[:8]
    assert sides == pytest.approx([2 * radius[0].item() * math.sin(math.pi / 8)] * 8)


def test_mixture_has_mean_zero_and_the_std_of_edm_in_closed_form():
    torch.testing.assert_close(MEANS.mean(0), torch.zeros(2, dtype=torch.float64))
    covariance = MEANS.T @ MEANS / 8 + STD**2 * torch.eye(2)
    torch.testing.assert_close(covariance, 0.25 * torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("part", ["train", "test"])
def test_points_follow_the_stated_density(part):
    split = getattr(load("eight-gaussians"), part)
    residual = (split.images.flatten(1).double() - MEANS[split.labels]) / STD
    assert kstest(residual.flatten().numpy(), "norm").pvalue > 1e-3
    counts = split.labels.bincount(minlength=8).double()
    # Chi-square of 7 degrees of freedom, p = 0.001
    assert ((counts - 1250) ** 2 / 1250).sum() < 24.3
