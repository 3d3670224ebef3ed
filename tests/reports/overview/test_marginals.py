"""Warnings by what the training counted."""

import pytest

from bench.record import Measurement
from reports.overview.marginals import marginals
from reports.tables.runs import read
from tests.reports.conftest import make_run

PAIRS = 64_000


def counted(duplicates=0.0, drift=0.0, chi2=0.5, pairs=PAIRS):
    return [
        Measurement("coupling_duplicates", duplicates, n=pairs // 128),
        Measurement("coupling_noise_norm_drift", drift, n=pairs // 128),
        Measurement("coupling_images_least", 2.0, n=pairs),
        Measurement("coupling_images_most", 19.0, n=pairs),
        Measurement("coupling_images_chi2", chi2, n=pairs),
    ]


def lines(folder, **arms):
    for coupling, found in arms.items():
        for seed in (0, 1):
            make_run(folder, coupling, seed, found=found)
    return marginals(read(folder)[0])


def test_kept_marginals_are_not_spoken_of(tmp_path):
    # Independent draws have a chi-square of 1, and a short training a drift by chance.
    few = counted(drift=0.05, pairs=640)
    assert lines(tmp_path, random=counted(), lapjv=counted(chi2=1.1), cached=few) == []


def test_noise_that_is_left_out_or_shrunk_is_named_with_its_numbers(tmp_path):
    (line,) = lines(tmp_path, random=counted(), knn=counted(duplicates=0.5, drift=-0.108))
    assert line == (
        "The noise seen in training was not exactly Gaussian: knn (50 % of a pool's noise samples"
        " were unused and their mean square is −10.8 % off)."
    )


def test_images_that_come_unevenly_are_named(tmp_path):
    (line,) = lines(tmp_path, random=counted(), semidiscrete=counted(chi2=1.94))
    assert line.endswith(
        "semidiscrete (from 2 to 19 times, chi-square 1.94 times that of independent draws)."
    )


@pytest.mark.parametrize("coupling", ["random", "knn"])
def test_runs_of_earlier_versions_counted_nothing(tmp_path, coupling):
    make_run(tmp_path, coupling)
    assert marginals(read(tmp_path)[0]) == []
