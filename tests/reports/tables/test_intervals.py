"""Coverage of the intervals by simulated studies, thousands at once."""

import numpy as np
import pytest
from scipy import stats

from reports.tables.intervals import difference, paired

STUDIES = 40_000
SPREAD = 0.2  # of the logarithm over seeds


def drawn(seeds, extra, correlation, relative, ratio, key):
    """Logarithms of an arm, of random at the same seeds, and of random at others.

    ``relative`` is the arm's spread in units of random's.
    """
    rng = np.random.default_rng(key)
    both = rng.normal(size=(2, STUDIES, seeds))
    own = correlation * both[0] + np.sqrt(1 - correlation**2) * both[1]
    return (
        np.log(ratio) + SPREAD * relative * own,
        SPREAD * both[0],
        SPREAD * rng.normal(size=(STUDIES, extra)),
    )


def coverage(estimate, truth):
    low, high = estimate.ends
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("ratio", [0.27, 0.8, 1.0])
@pytest.mark.parametrize("seeds", [3, 6, 12])
def test_paired_intervals_cover_the_true_ratio(ratio, seeds):
    values = [np.exp(side) for side in drawn(seeds, 0, 0.5, 1.3, ratio, seeds)]
    found = difference(*map(np.log, values))
    assert 0.94 < coverage(found, np.log(ratio)) < 0.96


@pytest.mark.parametrize("relative", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("seeds", "extra"), [(3, 1), (3, 9), (6, 2), (6, 6), (12, 12)])
def test_further_seeds_of_random_never_cost_coverage(seeds, extra, correlation, relative):
    """They may be careful: their degrees of freedom are those of the shared seeds."""
    found = difference(*drawn(seeds, extra, correlation, relative, 0.8, seeds + extra))
    assert 0.945 < coverage(found, np.log(0.8)) < 0.999


def test_further_seeds_make_intervals_narrower_where_seeds_move_arms_apart():
    own, shared, extra = drawn(6, 12, 0.3, 1.0, 1.0, 0)
    widths = []
    for found in (difference(own, shared, extra), difference(own, shared, extra[:, :0])):
        low, high = found.ends
        widths.append(float((high - low).mean()))
    assert widths[0] < 0.95 * widths[1]


def test_p_values_are_those_of_scipy():
    values = np.random.default_rng(1).normal(0.3, 1, (20, 5))
    theirs = stats.ttest_1samp(values, 0, axis=1)
    assert paired(values).p == pytest.approx(theirs.pvalue, rel=1e-9)


def test_equal_runs_have_no_difference_and_p_1():
    same = np.log([0.3, 0.3, 0.3]), np.log([0.1 + 0.2] * 3), np.array([])
    found = difference(*same)
    assert (float(found.mean), float(found.p)) == (0.0, 1.0)
    assert np.all(np.array(found.ends) == 0)
