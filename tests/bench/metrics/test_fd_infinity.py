import math

import numpy as np
import pytest
import torch

from bench.metrics._fd_infinity import fd_infinity, sizes
from bench.metrics._moments import Moments
from bench.metrics.frechet import frechet_distance


def test_sizes_end_with_all_samples():
    assert sizes(1000) == [250, 357, 464, 571, 679, 786, 893, 1000]
    assert sizes(8, points=50) == [2, 3, 4, 5, 6, 7, 8]


def test_a_line_in_one_over_n_is_followed_to_its_end():
    assert fd_infinity({n: 3.0 + 70 / n for n in sizes(500)}) == pytest.approx(3, rel=1e-9)
    assert fd_infinity({100: 1.0, 200: 0.0}) == pytest.approx(-1)


def test_takes_the_bias_of_small_samples_away():
    """Equal Gaussians, so the true distance is 0; the reference has the exact moments."""
    d, n = 16, 2000
    exact = Moments(n, torch.zeros(d).double(), (n - 1) * torch.eye(d).double())
    biased, corrected = [], []
    for seed in range(10):
        x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
        distances = {k: frechet_distance(Moments.of(x[:k]), exact) for k in sizes(n)}
        biased.append(distances[n])
        corrected.append(fd_infinity(distances))
    error = np.std(corrected) / np.sqrt(len(corrected))
    assert min(biased) > 0.02
    assert abs(np.mean(corrected)) < max(4 * error, 0.1 * np.mean(biased))


def test_one_point_makes_no_line():
    with pytest.raises(ValueError, match="more samples"):
        fd_infinity({100: 1.0})


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_distance_that_is_not_finite_makes_nan(bad):
    assert math.isnan(fd_infinity({100: 1.0, 200: 0.5, 300: bad}))
