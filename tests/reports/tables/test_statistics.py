import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.tables.arms import ordered
from reports.tables.statistics import Cell, against, cells


def rows(values):
    """Rows from {(nfe, coupling, seed): value}."""
    return pd.DataFrame(
        [{"nfe": n, "coupling": c, "seed": s, "value": v} for (n, c, s), v in values.items()]
    )


def test_mean_spread_and_ratio():
    found = cells(
        rows({(5, "random", 0): 10, (5, "random", 1): 14, (5, "lapjv", 0): 5, (5, "lapjv", 1): 7})
    )
    assert list(found[5]) == ["random", "lapjv"]
    assert found[5]["random"].ratio is None
    assert found[5]["lapjv"].mean == 6
    assert found[5]["lapjv"].spread == pytest.approx(math.sqrt(2))
    assert found[5]["lapjv"].ratio == pytest.approx(0.5, rel=1e-12)


def test_the_ratio_is_of_geometric_means():
    """In a mean of ratios or a ratio of means, one high seed would decide."""
    cell = against({0: 1.0, 1: 90.0}, {0: 2.0, 1: 80.0})
    assert cell.ratio == pytest.approx(math.sqrt(0.5 * 9 / 8))
    own, reference = cell.shared_means
    assert own / reference == pytest.approx(cell.ratio)


def test_the_ratio_uses_shared_seeds_of_the_coupling_only():
    found = cells(
        rows({(5, "random", 0): 10, (5, "lapjv", 0): 5, (5, "lapjv", 1): 99, (5, "lapjv", 2): 52})
    )
    assert found[5]["lapjv"].ratio == pytest.approx(0.5)
    assert found[5]["lapjv"].mean == 52
    disjoint = cells(rows({(5, "random", 0): 10, (5, "lapjv", 1): 5}))[5]["lapjv"]
    assert disjoint.ratio is None
    assert disjoint.side == "unclear"


@pytest.mark.parametrize("n", [3, 4, 5, 12])
def test_the_interval_is_that_of_the_paired_t_test(n):
    rng = np.random.default_rng(n)
    own = rng.uniform(1, 3, n)
    reference = rng.uniform(2, 4, n)
    cell = Cell(dict(enumerate(own)), dict(enumerate(reference)))
    test = stats.ttest_rel(np.log(own), np.log(reference))
    theirs = test.confidence_interval(0.95)
    assert (cell.ratio_interval.low, cell.ratio_interval.high) == pytest.approx(
        (math.exp(theirs.low), math.exp(theirs.high)), rel=1e-9
    )
    assert cell.p == pytest.approx(test.pvalue, rel=1e-9)


def test_an_interval_of_a_ratio_never_reaches_zero():
    """On the scale of the values it would: -73 % [-106, -39]."""
    cell = against({0: 30.0, 1: 50.0, 2: 36.0}, {0: 150.0, 1: 140.0, 2: 142.0})
    assert 0 < cell.ratio_interval.low < cell.ratio < cell.ratio_interval.high < 1


@pytest.mark.parametrize(
    ("own", "side"),
    [
        ([1, 1, 1.2], "lower"),
        ([3, 3, 2.8], "higher"),
        ([1, 1, 1.9], "unclear"),
        ([2, 2, 2], "unclear"),
        ([1, 1], "unclear"),
        ([1], "unclear"),
        ([1, 1, 1, 1, 1, 2.1], "lower"),
        ([1, 1, 2], "unclear"),
    ],
)
def test_a_verdict_needs_an_interval_without_zero_and_three_seeds(own, side):
    cell = Cell(dict(enumerate(own)), dict.fromkeys(range(len(own)), 2))
    assert cell.side == side
    assert (cell.estimate is None) == (len(own) < 3)


@given(st.lists(st.tuples(*[st.floats(0.1, 10)] * 2), min_size=3, max_size=7))
def test_a_claim_and_its_interval_never_disagree(pairs):
    """The colour follows the claim and the brackets show the interval."""
    own, reference = (dict(enumerate(side)) for side in zip(*pairs, strict=True))
    cell = Cell(own, reference)
    side = (
        "lower"
        if cell.ratio_interval.high < 1
        else "higher"
        if cell.ratio_interval.low > 1
        else "unclear"
    )
    assert side == cell.side or min(abs(r - 1) for r in vars(cell.ratio_interval).values()) < 1e-12


def test_rounding_is_no_difference():
    assert Cell(dict.fromkeys(range(3), 0.3), dict.fromkeys(range(3), 0.1 + 0.2)).side == "unclear"


def test_a_diverged_seed_is_not_dropped():
    cell = Cell({0: 1.0, 1: math.nan, 2: 1.0}, {0: 2.0, 1: 2.0, 2: 2.0})
    assert math.isnan(cell.mean)
    assert cell.spread is None
    assert cell.ratio is None
    assert cell.side == "unclear"
    assert Cell({0: math.inf, 1: -math.inf}, {}).spread is None


@pytest.mark.parametrize(
    ("own", "reference"), [(0.1, -0.05), (-0.1, -0.05), (-0.1, 0.05), (0.1, 0.0)]
)
def test_values_below_zero_have_no_ratio_but_a_verdict(own, reference):
    cell = Cell(dict.fromkeys(range(3), own), dict.fromkeys(range(3), reference))
    assert cell.ratio is None
    assert (cell.ratio_interval is None) == (cell.ratio is None)
    assert cell.side == ("higher" if own > reference else "lower")


def test_further_seeds_of_random_count():
    """Half of the weight is that of all its seeds; nothing is missing that the coupling has."""
    reference = {0: 2.0, 1: 2.0, 2: 2.0, 3: 4.0, 4: 4.0, 5: 4.0}
    cell = against({0: 1.0, 1: 1.1, 2: 0.9}, reference)
    assert cell.extra == {3: 4.0, 4: 4.0, 5: 4.0}
    alone = against({0: 1.0, 1: 1.1, 2: 0.9}, {seed: reference[seed] for seed in range(3)})
    # All six have a geometric mean of 2 sqrt(2); half way from 2 to it.
    assert cell.ratio == pytest.approx(alone.ratio / 2**0.25)
    assert cell.shared_means[0] / cell.shared_means[1] == pytest.approx(cell.ratio)
    assert against({7: 1.0}, reference).ratio is None


def test_one_seed_has_no_spread():
    assert Cell({0: 1.0}, {}).spread is None


def test_profiles_have_cells_over_sigma():
    frame = rows({(5, "random", 0): 1.0, (5, "random", 1): 3.0}).assign(sigma=0.5)
    assert cells(frame, "sigma") == {0.5: {"random": Cell({0: 1.0, 1: 3.0}, {})}}
    assert list(cells(frame, None)) == [None]


def test_mixed_settings_are_refused():
    twice = pd.concat([rows({(5, "random", 0): 1.0}), rows({(5, "random", 0): 2.0})])
    with pytest.raises(ValueError, match="select one setting"):
        cells(twice)


def test_random_comes_first():
    assert ordered(["sinkhorn", "lapjv", "random", "lapjv"]) == ["random", "lapjv", "sinkhorn"]
