import math

import pytest
import torch
from scipy.stats import wasserstein_distance

from bench.metrics.classes import UNKNOWN, class_agreement, class_distance


def test_distance_by_hand():
    a, b = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1, 1, 1, 1, 3])
    assert class_distance(a, b, 4) == pytest.approx((3 / 8 + 2 / 8 + 1 / 8) / 2)
    assert class_distance(b, a, 4) == class_distance(a, b, 4)
    assert class_distance(a, a.repeat(3), 4) == 0
    assert class_distance(torch.zeros(5).long(), torch.ones(9).long(), 2) == 1


def test_distance_of_two_classes_is_the_transport_distance():
    """With two classes a unit apart total variation is what an optimal plan moves."""
    g = torch.Generator().manual_seed(0)
    a, b = torch.randint(2, (31,), generator=g), torch.randint(2, (57,), generator=g)
    assert class_distance(a, b, 2) == pytest.approx(wasserstein_distance(a.numpy(), b.numpy()))


def test_agreement_by_hand():
    assert class_agreement(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2])) == 0.75


def test_one_sample_of_no_class_makes_nan():
    known, one = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, UNKNOWN, 2])
    assert math.isnan(class_distance(one, known, 3))
    assert math.isnan(class_distance(known, one, 3))
    assert math.isnan(class_agreement(one, known))
