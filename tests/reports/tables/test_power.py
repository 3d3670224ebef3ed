import math

import numpy as np
import pytest
from scipy import stats

from reports.tables.power import plan, power, seeds_needed, seeds_until_clear
from reports.tables.statistics import Cell, against


@pytest.mark.parametrize(("n", "effect", "spread"), [(3, 0.2, 0.1), (6, 0.1, 0.1), (11, 0.1, 0.12)])
def test_power_is_the_share_of_simulated_studies_that_find_the_difference(n, effect, spread):
    drawn = np.random.default_rng(n).normal(effect, spread, (40_000, n))
    found = stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05
    assert power(n, effect, spread) == pytest.approx(found.mean(), abs=0.01)


def test_seeds_are_the_first_number_that_is_enough():
    n = seeds_needed(math.log1p(0.1), 0.115)
    assert power(n - 1, math.log1p(0.1), 0.115) < 0.8 <= power(n, math.log1p(0.1), 0.115)
    assert seeds_needed(0.2, 0.0) == 3
    assert seeds_needed(1e-4, 0.1) is None


def noisy(mean, spread, seeds):
    """A cell whose log ratios have this mean and sample standard deviation."""
    steps = np.linspace(-1, 1, seeds)
    logs = mean + spread * steps / np.std(steps, ddof=1)
    return against(dict(enumerate(np.exp(logs))), dict.fromkeys(range(seeds), 1.0))


def test_the_spread_is_pooled_over_couplings():
    found = plan([noisy(0.0, 0.1, 3), noisy(-0.3, 0.2, 5), Cell({0: 1.0}, {0: 1.0})])
    assert found.spread == pytest.approx(math.sqrt((2 * 0.01 + 4 * 0.04) / 6))
    assert found.seeds == 3
    assert found.needed[0.2] < found.needed[0.1] < found.needed[0.05]
    assert plan([Cell({0: 1.0}, {0: 1.0})]) is None


def test_seeds_until_clear_make_the_interval_exclude_no_change():
    cell = noisy(-0.2, 0.12, 3)
    more = seeds_until_clear(cell)
    assert cell.side == "unclear"
    assert noisy(-0.2, 0.12, 3 + more).side == "lower"
    assert noisy(-0.2, 0.12, 3 + more - 1).side == "unclear"
    assert seeds_until_clear(noisy(-0.2, 0.01, 3)) is None
    assert seeds_until_clear(noisy(-0.01, 0.5, 3)) is None
