import math

import pytest
import torch
from sklearn.metrics import accuracy_score, roc_auc_score

from bench.metrics._discrimination import accuracy, auc, calibration_error


@pytest.fixture
def logits():
    g = torch.Generator().manual_seed(0)
    real, fake = torch.randn(300, generator=g) + 0.7, torch.randn(200, generator=g)
    real[:50] = real[:50].round()  # ties between the two kinds
    fake[:50] = fake[:50].round()
    return real, fake


def test_auc_and_accuracy_are_those_of_scikit_learn(logits):
    real, fake = logits
    truth, scores = [1] * len(real) + [0] * len(fake), torch.cat(logits)
    assert auc(real, fake) == pytest.approx(roc_auc_score(truth, scores.numpy()))
    real, fake = real[real != 0], fake[fake != 0]
    truth = [1] * len(real) + [0] * len(fake)
    assert accuracy(real, fake) == pytest.approx(
        accuracy_score(truth, (torch.cat([real, fake]) > 0).numpy())
    )


def test_an_undecided_one_is_at_chance_and_calibrated():
    zeros = torch.zeros(7)
    assert (auc(zeros, zeros), accuracy(zeros, zeros), calibration_error(zeros, zeros)) == (
        0.5,
        0.5,
        0.0,
    )


def test_calibration_error_of_known_cases():
    """d = 3/4 where 3 of 4 are real is calibrated; certainty at chance is off by a half."""
    three, nine = torch.full((1,), 3.0).log(), 20.0
    assert calibration_error(three.repeat(3), three) == pytest.approx(0, abs=1e-6)
    sure = torch.full((4,), nine)
    assert calibration_error(sure, sure) == pytest.approx(0.5, abs=1e-6)


def test_calibration_error_of_a_true_logit_vanishes():
    """Two unit Gaussians 2 m apart: the logit of being of the right one is 2 m x."""
    g, m = torch.Generator().manual_seed(0), 0.8
    x, y = torch.randn(100_000, generator=g) + m, torch.randn(100_000, generator=g) - m
    assert calibration_error(2 * m * x, 2 * m * y) < 0.005
    assert calibration_error(6 * m * x, 6 * m * y) > 0.05


@pytest.mark.parametrize("metric", [auc, accuracy, calibration_error])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_logit_that_is_not_finite_makes_nan(metric, bad, logits):
    real, fake = logits
    fake[3] = bad
    assert math.isnan(metric(real, fake))
    assert math.isnan(metric(fake, real))
