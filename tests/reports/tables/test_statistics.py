import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.tables.arms import ordered
from reports.tables.statistics import Cell, cells, student


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
    assert found[5]["lapjv"].ratio == 0.5


def test_the_ratio_uses_shared_seeds_only():
    found = cells(
        rows(
            {(5, "random", 0): 10, (5, "random", 1): 1000, (5, "lapjv", 0): 5, (5, "lapjv", 2): 99}
        )
    )
    assert found[5]["lapjv"].ratio == 0.5
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
    theirs = stats.ttest_rel(own, reference).confidence_interval(0.95)
    assert (cell.difference.low, cell.difference.high) == pytest.approx(
        (theirs.low, theirs.high), rel=1e-9
    )
    scaled = [1 + end / reference.mean() for end in (theirs.low, theirs.high)]
    assert (cell.ratio_interval.low, cell.ratio_interval.high) == pytest.approx(scaled, rel=1e-9)


def test_one_interval_in_twenty_leaves_out_what_is_true():
    drawn = np.random.default_rng(0).normal(size=(4000, 3))
    wrong = sum(not found.low <= 0 <= found.high for found in map(student, drawn))
    assert wrong / 4000 == pytest.approx(0.05, abs=0.012)


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
    assert (cell.difference is None) == (len(own) < 3)


@given(st.lists(st.tuples(*[st.floats(0.1, 10)] * 2), min_size=3, max_size=7))
def test_ratio_and_difference_never_disagree(pairs):
    """The colour follows the difference and the brackets show the ratio."""
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
