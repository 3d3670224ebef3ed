import math

import pytest
import torch

from bench.metrics.mode_mixture import THRESHOLDS, mixture_scan, mode_mixture

ROWS = torch.tensor(
    [[0.9, 0.05, 0.05], [0.75, 0.2, 0.05], [0.5, 0.39, 0.11], [0.34, 0.33, 0.33]],
    dtype=torch.float64,
)


@pytest.mark.parametrize(
    ("threshold", "mixed"), [(0.1, 3), (0.2, 3), (0.3, 2), (0.39, 1), (0.4, 0), (0.05, 4)]
)
def test_two_classes_at_the_threshold_mix(threshold, mixed):
    assert mode_mixture(ROWS, threshold) == mixed / 4


def test_scan_falls_and_holds_every_threshold():
    p = torch.randn(500, 10, generator=torch.Generator().manual_seed(0)).softmax(1)
    scan = mixture_scan(p)
    assert tuple(scan) == THRESHOLDS
    assert list(scan.values()) == sorted(scan.values(), reverse=True)
    assert scan[0.2] == mode_mixture(p, 0.2)
    assert 0 < scan[0.2] < 1


@pytest.mark.parametrize("threshold", [0, 0.51])
def test_threshold_that_says_nothing(threshold):
    with pytest.raises(ValueError, match="threshold"):
        mode_mixture(ROWS, threshold)


def test_logits_are_refused():
    with pytest.raises(ValueError, match="softmax"):
        mode_mixture(torch.ones(3, 2))


def test_one_sample_that_is_not_finite_makes_nan():
    rows = ROWS.clone()
    rows[1] = math.nan
    assert math.isnan(mode_mixture(rows))
    assert all(map(math.isnan, mixture_scan(rows).values()))
