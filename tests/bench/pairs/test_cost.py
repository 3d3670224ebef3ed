"""Sums over hand-made pools."""

from dataclasses import asdict

import pytest
import torch
from scipy.stats import chisquare

from bench.pairs.cost import CouplingCost, evenness
from bench.record import Measurement
from bench.training.loop import report_measurements

TIMES = {"seconds": 0.1, "cost_before": 2.0, "cost_after": 1.0}
POOLS = (
    ({**TIMES, "entropy": 0.5, "duplicates": 0.0}, torch.tensor([0, 1])),
    ({**TIMES, "entropy": 0.1}, torch.tensor([1, 3])),
    ({**TIMES, "entropy": 0.3, "duplicates": 0.5, "ms": 7.0}, torch.tensor([1, 3])),
)


def counted(pools, cost=None):
    cost = cost or CouplingCost()
    for report, rows in pools:
        cost.add(report, rows, images=4)
    return cost


def test_every_key_of_the_reports_is_averaged_over_the_pools_that_have_it():
    cost = counted(POOLS)
    cost.add_fit({"seconds": 3.0, "chi2": 0.02})
    assert cost.fit_seconds == 3.0
    rows = {row.metric: (row.value, row.n) for row in report_measurements(cost)}
    assert rows == {
        "coupling_entropy": (pytest.approx(0.3), 3),
        "coupling_duplicates": (0.25, 2),
        # The time of a pool has this name.
        "coupling_report_ms": (7.0, 1),
        "coupling_fit_chi2": (0.02, None),
        "coupling_images_least": (0.0, 6),
        "coupling_images_most": (3.0, 6),
        "coupling_images_chi2": (pytest.approx(chisquare([1, 3, 0, 2]).statistic / 3), 6),
    }


@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_resumed_run_adds_to_the_sums_of_its_checkpoint(stop):
    held = asdict(counted(POOLS[:stop]))
    resumed = counted(POOLS[stop:], CouplingCost(**held))
    assert report_measurements(resumed) == report_measurements(counted(POOLS))


def test_a_checkpoint_of_an_earlier_version_resumes_with_what_comes_now():
    held = asdict(counted(POOLS[:2]))
    for later in ("sums", "counts", "fit", "uses"):
        del held[later]
    resumed = CouplingCost(**held)
    assert report_measurements(resumed) == []
    counted(POOLS[2:], resumed)
    assert resumed.pools == 3
    assert Measurement("coupling_entropy", 0.3, n=1) in report_measurements(resumed)


def test_chi_square_is_0_for_equal_uses_and_about_1_for_independent_draws():
    assert evenness(torch.full((50,), 7))["images_chi2"] == 0
    drawn = torch.randint(2000, (10_000,), generator=torch.Generator().manual_seed(0))
    # Its standard error is sqrt(2 / 2000).
    assert evenness(torch.bincount(drawn, minlength=2000))["images_chi2"] == pytest.approx(
        1, abs=0.13
    )
