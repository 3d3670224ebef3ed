import math

import pandas as pd
import pytest

from reports.statistics import Cell, cells, ordered


def rows(values):
    """Rows from {(nfe, coupling, seed): value}."""
    return pd.DataFrame([{"nfe": n, "coupling": c, "seed": s, "value": v} for (n, c, s), v in values.items()])


def test_mean_spread_and_ratio():
    found = cells(rows({(5, "random", 0): 10, (5, "random", 1): 14, (5, "lapjv", 0): 5, (5, "lapjv", 1): 7}))
    assert list(found[5]) == ["random", "lapjv"]
    assert found[5]["random"].ratio is None
    assert found[5]["lapjv"].mean == 6
    assert found[5]["lapjv"].spread == pytest.approx(math.sqrt(2))
    assert found[5]["lapjv"].ratio == 0.5


def test_the_ratio_uses_shared_seeds_only():
    found = cells(rows({(5, "random", 0): 10, (5, "random", 1): 1000, (5, "lapjv", 0): 5, (5, "lapjv", 2): 99}))
    assert found[5]["lapjv"].ratio == 0.5
    assert found[5]["lapjv"].mean == 52
    disjoint = cells(rows({(5, "random", 0): 10, (5, "lapjv", 1): 5}))[5]["lapjv"]
    assert disjoint.ratio is None
    assert disjoint.verdict == "unclear"


@pytest.mark.parametrize(
    ("own", "verdict"), [([1, 1], "lower"), ([3, 3], "higher"), ([1, 3], "unclear"), ([2, 2], "unclear")]
)
def test_a_verdict_needs_every_seed(own, verdict):
    assert Cell(dict(enumerate(own)), {0: 2, 1: 2}).verdict == verdict


def test_a_diverged_seed_is_not_dropped():
    cell = Cell({0: 1.0, 1: math.nan}, {0: 1.0, 1: 1.0})
    assert math.isnan(cell.mean)
    assert cell.spread is None
    assert cell.ratio is None
    assert cell.verdict == "unclear"
    assert Cell({0: math.inf, 1: -math.inf}, {}).spread is None


@pytest.mark.parametrize(("own", "reference"), [(0.1, -0.05), (-0.1, -0.05), (-0.1, 0.05), (0.1, 0.0)])
def test_values_below_zero_have_no_ratio_but_a_verdict(own, reference):
    cell = Cell({0: own}, {0: reference})
    assert cell.ratio is None
    assert cell.verdict == ("higher" if own > reference else "lower")


def test_one_seed_has_no_spread():
    assert Cell({0: 1.0}, {}).spread is None


def test_mixed_settings_are_refused():
    twice = pd.concat([rows({(5, "random", 0): 1.0}), rows({(5, "random", 0): 2.0})])
    with pytest.raises(ValueError, match="select one setting"):
        cells(twice)


def test_random_comes_first():
    assert ordered(["sinkhorn", "lapjv", "random", "lapjv"]) == ["random", "lapjv", "sinkhorn"]
